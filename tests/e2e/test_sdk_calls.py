"""The unmodified public Python SDK, call by call: what its users see when things go well and when they do not."""

import base64
import textwrap

import pytest

from homeport.testing.sdk import with_sdk
from homeport.testing.system import System

AGENT = {
    "main.py": textwrap.dedent(
        """
        import os

        async def app(scope, receive, send):
            if scope["type"] != "http":
                return
            body = (await receive()).get("body", b"")
            status = 500 if b"fail" in body else 200
            with open("/tmp/calls", "a") as calls:
                calls.write("x")
            count = str(os.path.getsize("/tmp/calls")).encode()
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"|".join([body, scope["query_string"], count])})
        """
    )
}
JOB = {
    "main.py": textwrap.dedent(
        """
        import os, sys, time
        from blaxel.core.jobs import bl_start_job

        def work(name: str = "", greeting: str = "", seconds: float = 0) -> None:
            print("hello", name, os.environ.get("GREETING", ""), flush=True)
            time.sleep(seconds)
            if name == "fail":
                sys.exit("as asked")

        bl_start_job.start(work)
        """
    ),
    "requirements.txt": "blaxel==0.4.24\n",
}


@pytest.fixture(scope="module")
def deployed(system: System) -> None:
    assert system.deploy("agents", "calls-agent", AGENT)["status"] == "DEPLOYED"
    assert system.deploy("jobs", "calls-job", JOB, {"runtime": {"memory": 512}})["status"] == "DEPLOYED"


@pytest.mark.usefixtures("deployed")
def test_agents_are_called_both_ways_with_headers_and_parameters(system: System) -> None:
    printed = with_sdk(
        system,
        """
        import asyncio
        from blaxel.core.agents import bl_agent, get_agent_metadata
        agent = bl_agent("calls-agent")
        print(agent.run("raw", params={"q": "1"}).split("|")[:2])

        async def main():
            print((await agent.arun({"inputs": "a"})).split("|")[0])
            print((await get_agent_metadata("calls-agent")).metadata.url)
            print(await get_agent_metadata("never-was"))
        asyncio.run(main())
        """,
    )
    lines = printed.splitlines()
    assert lines[:3] == ["['raw', 'q=1']", '{"inputs": "a"}', f"{system.url}/default/agents/calls-agent"]


@pytest.mark.usefixtures("deployed")
def test_a_program_that_fails_is_called_once_and_its_words_reach_the_caller(system: System) -> None:
    printed = with_sdk(
        system,
        """
        from blaxel.core.agents import bl_agent
        agent = bl_agent("calls-agent")
        before = int(agent.run("x").rpartition("|")[2])
        try:
            agent.run("fail")
        except Exception as error:
            print(error)
        print(int(agent.run("x").rpartition("|")[2]) - before)
        try:
            bl_agent("never-was").run("x")
        except Exception as error:
            print(error)
        """,
    )
    lines = printed.splitlines()
    assert "status code 500" in lines[0] and "fail" in lines[0]
    assert lines[1] == "2", "one for the failure, one for the question"
    assert "404" in lines[2] and "WORKLOAD_NOT_FOUND" in lines[2]


@pytest.mark.usefixtures("deployed")
def test_executions_are_run_waited_for_listed_and_their_tasks_read(system: System) -> None:
    printed = with_sdk(
        system,
        """
        import asyncio
        from blaxel.core.client import client
        from blaxel.core.client.api.jobs import list_job_execution_tasks
        from blaxel.core.jobs import bl_job
        job = bl_job("calls-job")
        first = job.run([{"name": "a"}, {"name": "fail"}], env={"GREETING": "servus"}, memory=256)
        done = job.wait_for_execution(first, max_wait=60, interval=1)
        print(done.status, done.stats.success, done.stats.failure, done.metadata.job, done.spec.memory_override)
        tasks = list_job_execution_tasks.sync("calls-job", first, client=client, limit=1)
        print([(task.metadata.name, str(task.status)) for task in tasks.data], tasks.meta.has_more)

        async def main():
            second = await job.arun([{"name": "b"}], execution_id="calls-second")
            print(second, (await job.await_for_execution(second, max_wait=60, interval=1)).status)
            page = job.list_executions(limit=1)
            print(len(page.data), page.has_more, page.meta.total)
            print([one.metadata.id for one in page.auto_paging_iter()] == [second, first])
            print(job.get_execution_status(second))
        asyncio.run(main())
        """,
    )
    lines = printed.splitlines()
    assert lines[0] == "failed 1 1 calls-job 256"
    assert lines[1].startswith("[('task-0', ") and "succeeded" in lines[1].lower() and lines[1].endswith("True")
    assert lines[2:5] == ["calls-second succeeded", "1 True 2", "True"]
    assert lines[5].lower().endswith("succeeded")
    texts = [line["text"] for line in system.logs("jobs", "calls-job")]
    assert "hello a servus" in texts and "hello b " in texts


@pytest.mark.usefixtures("deployed")
def test_an_execution_is_cancelled_and_what_cannot_run_is_refused(system: System) -> None:
    printed = with_sdk(
        system,
        """
        from blaxel.core.client.errors import UnexpectedStatus
        from blaxel.core.jobs import bl_job
        job = bl_job("calls-job")
        running = job.create_execution({"tasks": [{"name": "long", "seconds": 2}]})  # may have begun, and then ends
        job.cancel_execution(running)
        print(job.wait_for_execution(running, max_wait=60, interval=1).status)
        for call in (lambda: job.get_execution("exec-never-was"),
                     lambda: job.run([{"name": "a"}], memory=99999),
                     lambda: job.run([{"name": "a"}], execution_id="calls-taken") and
                             job.run([{"name": "b"}], execution_id="calls-taken"),
                     lambda: bl_job("never-was").run([{"name": "a"}])):
            try:
                print("accepted", call())
            except Exception as error:
                print(type(error).__name__, getattr(error, "status_code", ""), str(error)[:150].replace("\\n", " "))
        """,
    )
    lines = printed.splitlines()
    assert lines[0] == "cancelled"
    assert "not found" in lines[1] or "404" in lines[1]
    assert "400" in lines[2]
    assert "409" in lines[3]
    assert "404" in lines[4]


def test_lists_are_paged_and_errors_parsed(system: System) -> None:
    printed = with_sdk(
        system,
        """
        from blaxel.core.client import client
        from blaxel.core.client.api.agents import create_agent, get_agent, list_agents
        from blaxel.core.client.api.jobs import list_jobs
        from blaxel.core.client.api.policies import create_policy, delete_policy, list_policies
        from blaxel.core.client.models import (
            Agent, AgentSpec, Metadata, Policy, PolicyLocation, PolicyLocationType, PolicySpec, PolicySpecType)
        spec = PolicySpec(type_=PolicySpecType.LOCATION,
                          locations=[PolicyLocation(name="local", type_=PolicyLocationType.LOCATION)])
        for number in range(3):
            create_policy.sync(client=client, body=Policy(metadata=Metadata(name=f"calls-{number}"), spec=spec))
        names, cursor = [], None
        while True:
            page = list_policies.sync(client=client, limit=2, q="calls-", cursor=cursor)
            names += [policy.metadata.name for policy in page.data]
            if not page.meta.has_more:
                break
            cursor = page.meta.next_cursor
        print(sorted(names), page.meta.next_cursor == "")
        for name in names:
            delete_policy.sync(name, client=client)
        refused = create_agent.sync(client=client, body=Agent(metadata=Metadata(name="calls-none"), spec=AgentSpec()))
        print(refused.code, refused.error, refused.message)
        missing = get_agent.sync("never-was", client=client)
        print(missing.code, missing.error, missing.message)
        try:
            create_policy.sync(client=client, body=Policy(metadata=Metadata(name="Not A Name"), spec=spec))
        except Exception as error:
            print(type(error).__name__, getattr(error, "status_code", ""))
        print([type(each.sync(client=client, limit=1)).__name__ for each in (list_agents, list_jobs)])
        """,
    )
    lines = printed.splitlines()
    assert lines[0] == "['calls-0', 'calls-1', 'calls-2'] True"
    assert lines[1].startswith("400 Invalid spec")
    assert lines[2].startswith("404 NotFound") and "never-was" in lines[2]
    assert "400" in lines[3]
    assert lines[4] == "['AgentList', 'JobList']"


def test_a_service_account_signs_in_and_its_key_is_taken_back(system: System) -> None:
    made = with_sdk(
        system,
        """
        from blaxel.core.client import client
        from blaxel.core.client.api.service_accounts import (
            create_api_key_for_service_account, create_workspace_service_account, get_workspace_service_accounts,
            list_api_keys_for_service_account)
        from blaxel.core.client.api.workspaces import get_workspace, list_workspaces
        from blaxel.core.client.models import CreateApiKeyForServiceAccountBody, CreateWorkspaceServiceAccountBody
        account = create_workspace_service_account.sync(
            client=client, body=CreateWorkspaceServiceAccountBody(name="by the SDK"))
        key = create_api_key_for_service_account.sync(
            account.client_id, client=client, body=CreateApiKeyForServiceAccountBody(name="k", expires_in="1d"))
        print(account.client_id, account.client_secret, key.id, key.api_key)
        print([one.name for one in get_workspace_service_accounts.sync(client=client)])
        print([one.name for one in list_api_keys_for_service_account.sync(account.client_id, client=client)])
        print([one.name for one in list_workspaces.sync(client=client)])
        print(get_workspace.sync("default", client=client).name)
        """,
    ).splitlines()
    client_id, secret, key_id, key = made[0].split()
    assert "by the SDK" in made[1] and made[2] == "['k']" and made[3:] == ["['default']", "default"]

    read = """
        from blaxel.core.client import client
        from blaxel.core.client.api.agents import list_agents
        from blaxel.core.common.settings import settings
        found = list_agents.sync(client=client)
        print(type(found).__name__, getattr(found, "code", settings.headers["X-Blaxel-Workspace"]))
        """
    credentials = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    assert with_sdk(system, read, BL_API_KEY="", BL_CLIENT_CREDENTIALS=credentials).split() == ["AgentList", "default"]
    assert with_sdk(system, read, BL_API_KEY=key).split() == ["AgentList", "default"]
    assert system.api.delete(f"/service_accounts/{client_id}/api_keys/{key_id}").status_code == 200
    assert with_sdk(system, read, BL_API_KEY=key).split() == ["Error", "401"]
    assert system.api.delete(f"/service_accounts/{client_id}").status_code == 200
