// Uses of the public TypeScript SDK as its documentation shows them. `node client.mjs SCENARIO` prints one JSON value;
// test_typescript.py says what it must be.
import {
  blAgent, blJob, createAgent, createJob, createPolicy, deleteAgent, deleteJob, deletePolicy, getAgent, getAgentMetadata,
  getJob, getPolicy, listAgents, listJobExecutionTasks, listJobs, listPolicies, settings, updatePolicy,
} from "@blaxel/core";

// What a call that must fail threw: the SDK throws the answer's parsed body.
const thrown = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return error;
  }
};

const POLICY = { type: "location", locations: [{ type: "location", name: "local" }] };

const scenarios = {
  // A call through the gateway. `.run()` of this version cannot succeed: it reads the answer twice.
  async agent() {
    const agent = blAgent("ts-agent");
    const answer = await agent.call(agent.url, { inputs: "hi" }, { "X-Mine": "1" }, { q: "x" });
    const missing = blAgent("never-was");
    const refused = await missing.call(missing.url, {});
    const metadata = await getAgentMetadata("ts-agent");
    return {
      status: answer.status, text: await answer.text(),
      missing: refused.status, code: (await refused.json()).error.code,
      name: metadata.metadata.name, url: metadata.metadata.url,
    };
  },

  async job() {
    const job = blJob("ts-job");
    const id = await job.run([{ name: "a" }, { name: "b" }], { env: { GREETING: "hello" }, memory: 256 });
    const done = await job.waitForExecution(id, { maxWait: 60000, interval: 200 });
    const { data: tasks } = await listJobExecutionTasks({ path: { jobId: "ts-job", executionId: id } });
    const listed = await (await job.listExecutions({ limit: 1 })).autoPagingToArray({ limit: 100 });
    return {
      status: done.status, stats: done.stats, seen: await job.getExecutionStatus(id),
      tasks: tasks.data.map((task) => [task.metadata.name, task.status]),
      listed: listed.map((execution) => execution.metadata.id).includes(id), pages: listed.length,
    };
  },

  async cancel() {
    const job = blJob("ts-job");
    await job.run([{ name: "short" }]); // so that the list above has more than one page
    const id = await job.createExecution({ tasks: [{ name: "wait", seconds: 2 }] }); // may have begun, and then ends
    await job.cancelExecution(id);
    const done = await job.waitForExecution(id, { maxWait: 60000, interval: 200 });
    const unknown = await thrown(() => job.getExecution("exec-never-was"));
    return { status: done.status, unknown: unknown?.code };
  },

  // Names in every list, page by page and all at once; what a conflict and a missing thing throw.
  async resources() {
    const names = ["ts-policy-1", "ts-policy-2", "ts-policy-3"];
    for (const name of names) await createPolicy({ body: { metadata: { name }, spec: POLICY } });
    const conflict = await thrown(() =>
      createPolicy({ body: { metadata: { name: names[0] }, spec: POLICY }, throwOnError: true }));
    const read = (await getPolicy({ path: { policyName: names[0] } })).data;
    read.metadata.displayName = "By TypeScript";
    const updated = (await updatePolicy({ path: { policyName: names[0] }, body: read })).data;
    const found = [];
    let cursor;
    do {
      const { data: page } = await listPolicies({ query: { limit: 2, q: "ts-policy", cursor } });
      found.push(...page.data.map((policy) => policy.metadata.name));
      cursor = page.meta.nextCursor || undefined;
    } while (cursor);
    const deleted = [];
    for (const name of names) deleted.push((await deletePolicy({ path: { policyName: name } })).data.metadata.name);
    const missing = await thrown(() => getAgent({ path: { agentName: "never-was" }, throwOnError: true }));
    const lists = [await listAgents({}), await listJobs({})].map((list) => Array.isArray(list.data.data));
    return { conflict, shown: updated.metadata.displayName, found: found.sort(), deleted, missing, lists };
  },

  // The SDK has no call for uploads, so fetch sends the archive that stands on standard input.
  async deploy() {
    const chunks = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    const seen = [];
    for (const [create, get, remove, key, name] of [
      [createAgent, getAgent, deleteAgent, "agentName", "ts-made-agent"],
      [createJob, getJob, deleteJob, "jobId", "ts-made-job"],
    ]) {
      const body = { metadata: { name }, spec: { runtime: { memory: 256 } } };
      const { response } = await create({ body, query: { upload: true } });
      const sent = await fetch(response.headers.get("x-blaxel-upload-url"), { method: "PUT", body: Buffer.concat(chunks) });
      let status;
      for (let look = 0; look < 600; look += 1) {
        status = (await get({ path: { [key]: name } })).data.status;
        if (status === "DEPLOYED" || status === "FAILED") break;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const gone = (await remove({ path: { [key]: name } })).data.status;
      seen.push([response.status, sent.status, status, gone]);
    }
    return seen;
  },

  // How the SDK signed its requests: with a token that it fetched, or with the key.
  async whoami() {
    const list = await listAgents({ throwOnError: true });
    return { token: settings.token === process.env.BL_API_KEY ? "key" : "fetched", lists: Array.isArray(list.data.data) };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
