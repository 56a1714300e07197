"""Every operation of policies, agents, functions, jobs, executions and tasks: what it answers is read by the public
SDK's own classes, and what it refuses is refused in the contract's words."""

import os
from typing import Any

import pytest
from httpx import Response

os.environ["DO_NOT_TRACK"] = "1"  # before the import, which else reports to its vendor

from blaxel.core.client import models as sdk

from homeport.core import ids
from homeport.core.ids import WRITTEN, Kind
from homeport.jobs.states import ExecutionStatus
from homeport.testing.control_plane import HOME, ControlPlane
from homeport.workloads.states import WorkloadStatus

HERE: dict[str, Any] = {"type": "location", "locations": [{"type": "location", "name": "local"}]}
UPLOAD = {"upload": "true"}
SHAPES = {Kind.POLICY: sdk.Policy, Kind.AGENT: sdk.Agent, Kind.FUNCTION: sdk.Function, Kind.JOB: sdk.Job}
SHAPES[Kind.VOLUME] = sdk.Volume
LISTS = {
    Kind.POLICY: sdk.PolicyList,
    Kind.AGENT: sdk.AgentList,
    Kind.FUNCTION: sdk.FunctionList,
    Kind.JOB: sdk.JobList,
    Kind.VOLUME: sdk.VolumeList,
}
SPECS: dict[Kind, dict[str, Any]] = {
    Kind.POLICY: HERE,
    Kind.VOLUME: {"size": 64, "region": "local"},
    Kind.AGENT: {"enabled": True, "runtime": {"memory": 256, "envs": [{"name": "A", "value": "1"}]}, "policies": []},
    Kind.FUNCTION: {"runtime": {"memory": 256, "minScale": 1, "transport": "http-stream"}, "public": False},
    Kind.JOB: {"runtime": {"memory": 256, "maxRetries": 3, "timeout": 60, "maxConcurrentTasks": 4}},
}
KINDS = pytest.mark.parametrize("kind", WRITTEN)
WORKLOADS = pytest.mark.parametrize("kind", ids.WORKLOADS)


def body_of(kind: Kind, name: str = "one", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": SPECS[kind]}


async def create(plane: ControlPlane, kind: Kind, name: str = "one", **metadata: Any) -> dict[str, Any]:
    answer = await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=body_of(kind, name, **metadata))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: Response, status: int, reason: str) -> str:
    """The message of a refusal, whose shape is checked: the contract's three fields and no more."""
    body = answer.json()
    assert (answer.status_code, set(body)) == (status, {"code", "error", "message"}), answer.text
    assert (body["code"], body["error"]) == (status, reason), body
    read = sdk.Error.from_dict(body)
    assert read.code == status
    return str(read.message)


def without_empty(value: Any) -> Any:
    """The SDK's classes send an empty list for each list that was absent."""
    if not isinstance(value, dict):
        return value
    return {key: without_empty(item) for key, item in value.items() if item not in ([], {}, None)}


@KINDS
async def test_a_resource_is_created_read_listed_changed_and_deleted(plane: ControlPlane, kind: Kind) -> None:
    address = f"/v0/{kind.plural}"
    made = await create(plane, kind, displayName="One", labels={"team": "a"})
    plane.clock.move(60)
    for answered in (made, (await plane.api.get(f"{address}/one")).json()):
        read = SHAPES[kind].from_dict(answered)
        metadata = read.metadata
        assert (metadata.name, metadata.display_name, metadata.workspace) == ("one", "One", HOME)
        assert metadata.labels.to_dict() == {"team": "a"}
        assert metadata.created_at == metadata.updated_at and metadata.created_by == metadata.updated_by
        assert answered["spec"] == SPECS[kind]
    listed = LISTS[kind].from_dict((await plane.api.get(address)).json())
    assert ([item.metadata.name for item in listed.data], listed.meta.total, listed.meta.has_more) == (
        ["one"],
        1,
        False,
    )
    changed = {**body_of(kind), "spec": {**SPECS[kind], "added": 1}}
    updated = (await plane.api.put(f"{address}/one", params=UPLOAD, json=changed)).json()
    assert (updated["spec"]["added"], updated["metadata"]["createdAt"]) == (1, made["metadata"]["createdAt"])
    assert updated["metadata"]["updatedAt"] > made["metadata"]["updatedAt"]
    assert "displayName" not in updated["metadata"] and not updated["metadata"].get("labels")
    gone = await plane.api.delete(f"{address}/one")
    assert (gone.status_code, SHAPES[kind].from_dict(gone.json()).metadata.name) == (200, "one")


@WORKLOADS
async def test_a_workload_shows_its_status_its_events_and_its_address(plane: ControlPlane, kind: Kind) -> None:
    read = SHAPES[kind].from_dict(await create(plane, kind))
    assert str(read.status) == "UPLOADING"
    assert read.metadata.url == f"http://127.0.0.1:8080/{HOME}/{kind.plural}/one"
    assert read.events[0].status == "UPLOADING" and read.events[0].revision.startswith("rev-")
    await plane.serve(kind, "one")
    assert str(SHAPES[kind].from_dict((await plane.api.get(f"/v0/{kind.plural}/one")).json()).status) == "DEPLOYED"
    revisions = [
        sdk.RevisionMetadata.from_dict(x) for x in (await plane.api.get(f"/v0/{kind.plural}/one/revisions")).json()
    ]
    assert [(x.active, x.traffic_percent, x.id) for x in revisions] == [(True, 100, read.events[0].revision)]
    gone = (await plane.api.delete(f"/v0/{kind.plural}/one")).json()
    assert gone["status"] == "DELETING"
    assert (await plane.api.delete(f"/v0/{kind.plural}/one")).json()["status"] == "DELETING"


@pytest.mark.parametrize("status", list(WorkloadStatus))
def test_every_status_that_we_send_is_one_that_clients_know(status: WorkloadStatus) -> None:
    assert str(sdk.Status(status.value)) == status.value


@KINDS
async def test_what_was_read_can_be_sent_back_whole(plane: ControlPlane, kind: Kind) -> None:
    """Clients update by reading, changing one field and sending all of it: read-only fields come along."""
    made = await create(plane, kind, displayName="One", labels={"team": "a"}, externalId="mine")
    if kind in ids.WORKLOADS:
        await plane.serve(kind, "one")
    plane.clock.move(60)
    read = (await plane.api.get(f"/v0/{kind.plural}/one")).json()
    for sent in (read, SHAPES[kind].from_dict(read).to_dict()):
        answer = await plane.api.put(f"/v0/{kind.plural}/one", json=sent)
        assert answer.status_code == 200, answer.text
        kept = answer.json()
        assert without_empty(kept["spec"]) == without_empty(read["spec"])
        assert {**kept["metadata"], "updatedAt": ""} == {**read["metadata"], "updatedAt": ""}
        assert kept["metadata"]["createdAt"] == made["metadata"]["createdAt"]


@KINDS
async def test_read_only_and_unknown_fields_are_ignored_and_nulls_are_absent(plane: ControlPlane, kind: Kind) -> None:
    sent = {
        "apiVersion": "blaxel.ai/v1alpha1",
        "kind": kind.value.capitalize(),
        "metadata": {
            "name": "one",
            "displayName": None,
            "labels": {"a": None, "b": "c"},
            "createdAt": "1970-01-01T00:00:00Z",
            "createdBy": "somebody",
            "workspace": "theirs",
            "url": "https://elsewhere.example",
            "plan": None,
            "newer": {"x": [1]},
        },
        "spec": {
            **SPECS[kind],
            "region": None,
            "newer": {"x": None, "y": [1, None]},
            "model_config": 1,
            "__class__": 2,
        },
        "status": "DEPLOYED",
        "events": [{"message": "made up"}],
        "usage": {"agents": 99},
        "newest": True,
    }
    answer = await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=sent)
    made = answer.json()
    assert answer.status_code == 200, made
    assert made["metadata"]["labels"] == {"b": "c"} and made["metadata"]["workspace"] == HOME
    assert made["metadata"]["createdAt"].startswith("2026") and made["metadata"]["createdBy"].startswith("sa-")
    assert "elsewhere" not in answer.text and "made up" not in answer.text and "usage" not in made
    assert made["spec"] == {**SPECS[kind], "newer": {"y": [1, None]}, "model_config": 1, "__class__": 2}


@KINDS
async def test_the_order_of_keys_does_not_matter(plane: ControlPlane, kind: Kind) -> None:
    forwards = body_of(kind, "forwards")
    backwards = {"spec": dict(reversed(forwards["spec"].items())), "metadata": {"name": "backwards"}}
    for sent in (forwards, backwards):
        answer = await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=sent)
        assert (answer.status_code, answer.json()["spec"]) == (200, forwards["spec"])


@KINDS
async def test_a_name_that_exists_is_409_and_not_to_be_repeated(plane: ControlPlane, kind: Kind) -> None:
    await create(plane, kind)
    again = await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=body_of(kind))
    reason = "VOLUME_ALREADY_EXISTS" if kind is Kind.VOLUME else "Conflict"  # which the public SDK looks for
    assert "'one'" in refusal(again, 409, reason)
    assert again.headers["x-should-retry"] == "false"


@KINDS
async def test_what_does_not_exist_is_404_whatever_is_asked_of_it(plane: ControlPlane, kind: Kind) -> None:
    address = f"/v0/{kind.plural}/one"
    for answer in (
        await plane.api.get(address),
        await plane.api.put(address, params=UPLOAD, json=body_of(kind)),
        await plane.api.delete(address),
        *(
            [await plane.api.get(f"{address}/{'usages' if kind is Kind.POLICY else 'revisions'}")]
            if kind is not Kind.VOLUME
            else []
        ),
    ):
        assert "'one'" in refusal(answer, 404, "NotFound")


@KINDS
async def test_a_body_names_what_its_address_names(plane: ControlPlane, kind: Kind) -> None:
    await create(plane, kind)
    answer = await plane.api.put(f"/v0/{kind.plural}/one", params=UPLOAD, json=body_of(kind, "two"))
    assert refusal(answer, 400, "Invalid").startswith("metadata.name: ")
    assert (await plane.api.get(f"/v0/{kind.plural}/two")).status_code == 404


BAD_METADATA: list[tuple[dict[str, Any], str]] = [
    ({}, "metadata.name"),
    ({"name": ""}, "metadata.name"),
    ({"name": None}, "metadata.name"),
    ({"name": 3}, "metadata.name"),
    ({"name": "Upper"}, "metadata.name"),
    ({"name": "under_score"}, "metadata.name"),
    ({"name": "-edge"}, "metadata.name"),
    ({"name": "edge-"}, "metadata.name"),
    ({"name": "dot.ted"}, "metadata.name"),
    ({"name": "new\n"}, "metadata.name"),
    ({"name": "é"}, "metadata.name"),
    ({"name": "٣"}, "metadata.name"),
    ({"name": "nul\0"}, "metadata.name"),
    ({"name": "a" * 50}, "metadata.name"),
    ({"name": "a", "displayName": "x" * 64}, "metadata.displayName"),
    ({"name": "a", "displayName": "nul\0"}, "metadata.displayName"),
    ({"name": "a", "externalId": "a b"}, "metadata.externalId"),
    ({"name": "a", "externalId": "a\n"}, "metadata.externalId"),
    ({"name": "a", "externalId": "x" * 65}, "metadata.externalId"),
    ({"name": "a", "labels": []}, "metadata.labels"),
    ({"name": "a", "labels": {"k": 1}}, "metadata.labels.k"),
    ({"name": "a", "labels": {"k\0": "v"}}, "metadata.labels"),
    ({"name": "a", "labels": {"k": "v" * 257}}, "metadata.labels"),
    ({"name": "a", "labels": {f"k{n}": "v" for n in range(65)}}, "metadata.labels"),
]


@KINDS
async def test_metadata_that_breaks_a_rule_is_named(plane: ControlPlane, kind: Kind) -> None:
    for metadata, field in BAD_METADATA:
        sent = {"metadata": metadata, "spec": SPECS[kind]}
        answer = await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=sent)
        assert refusal(answer, 400, "Invalid").startswith(f"{field}: "), (metadata, answer.text)


@KINDS
async def test_the_shortest_and_the_longest_name_are_good(plane: ControlPlane, kind: Kind) -> None:
    for name in ("a", "0", "a" * 49, "a--b"):
        await create(plane, kind, name)
        assert (await plane.api.get(f"/v0/{kind.plural}/{name}")).json()["metadata"]["name"] == name


async def test_kinds_do_not_share_names_and_an_external_id_stays_when_it_is_left_out(plane: ControlPlane) -> None:
    for kind in WRITTEN:
        await create(plane, kind, "same", externalId="mine")
        answer = await plane.api.put(f"/v0/{kind.plural}/same", params=UPLOAD, json=body_of(kind, "same"))
        assert answer.json()["metadata"]["externalId"] == "mine"


BAD_SPECS: list[tuple[str, Any, str | None]] = [
    ("agents", {"runtime": {"memory": 1}}, "spec.runtime.memory"),
    ("agents", {"runtime": {"memory": "256"}}, "spec.runtime.memory"),
    ("agents", {"runtime": {"memory": 10**40}}, "spec.runtime.memory"),
    ("agents", {"runtime": {"memory": True}}, "spec.runtime.memory"),
    ("agents", {"runtime": {"minScale": 3, "maxScale": 2}}, "spec.runtime.minScale"),
    ("agents", {"runtime": {"envs": [{"name": "A=B", "value": "x"}]}}, "spec.runtime.envs[0].name"),
    ("agents", {"runtime": {"envs": [{"name": "A", "value": "nul\0"}]}}, "spec.runtime.envs[0].value"),
    ("agents", {"policies": ["a", ""]}, "spec.policies[1]"),
    ("agents", {"policies": ["missing"]}, None),
    ("agents", {"region": "mars"}, "spec.region"),
    ("agents", {"volumes": [{"name": "v"}]}, "spec.volumes[0].mountPath"),
    ("agents", {"runtime": {"image": "x"}}, "spec.runtime.image"),
    ("functions", {"runtime": {"transport": "stdio"}}, "spec.runtime.transport"),
    ("functions", {"runtime": {"ports": [{"name": "x"}]}}, "spec.runtime.ports[0].target"),
    ("functions", {"integrationConnections": ["mail"]}, "spec.integrationConnections[0]"),
    ("functions", {"runtime": {"command": ["python"]}}, "spec.runtime.command"),
    ("functions", {"runtime": {"minScale": 3, "maxScale": 2}}, "spec.runtime.minScale"),
    ("functions", {"volumes": [{"name": "v"}]}, "spec.volumes[0].mountPath"),
    ("agents", [], "spec"),
    ("agents", None, "spec"),
    ("jobs", {"runtime": {"timeout": "soon"}}, "spec.runtime.timeout"),
    ("jobs", {"runtime": {"maxRetries": -1}}, "spec.runtime.maxRetries"),
    ("jobs", {"githubRunner": {"repositories": ["a/b"]}}, "spec.githubRunner"),
    ("volumes", {"size": 0}, "spec.size"),
    ("volumes", {"size": "64"}, "spec.size"),
    ("volumes", {"size": -1}, "spec.size"),
    ("volumes", {"size": 10**40}, "spec.size"),
    ("volumes", {"region": "mars"}, "spec.region"),
    ("volumes", {"region": 3}, "spec.region"),
    ("volumes", {"template": "one:latest"}, "spec.template"),
    ("volumes", [], "spec"),
    ("policies", {}, "spec.type"),
    ("policies", {"type": "planet"}, "spec.type"),
    ("policies", {**HERE, "resourceTypes": ["job"]}, "spec.resourceTypes[0]"),
    ("policies", {"type": "location", "locations": []}, "spec.locations"),
    ("policies", {"type": "flavor", "flavors": [{"name": "x", "type": "tpu"}]}, "spec.flavors[0].type"),
    ("policies", {"type": "maxToken"}, "spec.maxTokens"),
]


@KINDS
async def test_a_spec_that_breaks_a_rule_is_named_at_creation_and_at_update(plane: ControlPlane, kind: Kind) -> None:
    await create(plane, kind, "there")
    address = f"/v0/{kind.plural}"
    for spec, field in [(spec, field) for path, spec, field in BAD_SPECS if path == kind.plural]:
        for answer in (
            await plane.api.post(address, params=UPLOAD, json={"metadata": {"name": "new"}, "spec": spec}),
            await plane.api.put(f"{address}/there", params=UPLOAD, json={"metadata": {"name": "there"}, "spec": spec}),
        ):
            if field is None:
                assert '"missing"' in refusal(answer, 403, "Denied")
            else:
                assert refusal(answer, 400, "Invalid").startswith(f"{field}: "), answer.text
    assert (await plane.api.get(f"{address}/new")).status_code == 404


@WORKLOADS
async def test_a_workload_without_a_source_is_refused_with_what_to_do(plane: ControlPlane, kind: Kind) -> None:
    answer = await plane.api.post(f"/v0/{kind.plural}", json=body_of(kind))
    message = refusal(answer, 400, "Invalid")
    assert message.startswith("spec: ") and "homeport deploy" in message


@WORKLOADS
async def test_secret_values_survive_an_update_and_are_never_replaced_by_their_mask(
    plane: ControlPlane, kind: Kind
) -> None:
    def sent(*envs: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"name": "one"}, "spec": {"runtime": {"envs": list(envs)}}}

    async def shown() -> Any:
        read = await plane.api.get(f"/v0/{kind.plural}/one", params={"show_secrets": "true"})
        return read.json()["spec"]["runtime"]["envs"]

    address, secret = f"/v0/{kind.plural}/one", {"name": "TOKEN", "value": "hush", "secret": True}
    await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=sent(secret))
    masked = (await plane.api.get(address)).json()["spec"]["runtime"]["envs"][0]
    assert masked == {**secret, "value": "********"}
    for env in (masked, {"name": "TOKEN", "value": masked["value"]}):
        assert (await plane.api.put(address, params=UPLOAD, json=sent(env))).status_code == 200
        assert await shown() == [secret]
    for env in ({**masked, "secret": False}, {**masked, "name": "OTHER"}):
        answer = await plane.api.put(address, params=UPLOAD, json=sent(env))
        assert refusal(answer, 400, "Invalid").startswith("spec.runtime.envs[0].value: ")
    assert await shown() == [secret]


async def test_users_of_a_policy_are_counted_and_named(plane: ControlPlane) -> None:
    await create(plane, Kind.POLICY, "here")
    for kind in ids.WORKLOADS:
        sent = {"metadata": {"name": "user"}, "spec": {"policies": ["here", "here"]}}
        assert (await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json=sent)).status_code == 200
    (policy,) = sdk.PolicyList.from_dict((await plane.api.get("/v0/policies")).json()).data
    assert policy.usage.to_dict() == {"agents": 1, "functions": 1, "jobs": 1, "models": 0, "sandboxes": 0}
    usages = (await plane.api.get("/v0/policies/here/usages")).json()
    assert usages == {"agents": ["user"], "functions": ["user"], "jobs": ["user"], "models": [], "sandboxes": []}
    # In use or not, it goes at once, and what names it is refused from then on.
    assert (await plane.api.delete("/v0/policies/here")).status_code == 200
    sent = {"metadata": {"name": "user"}, "spec": {"policies": ["here"]}}
    assert (await plane.api.put("/v0/agents/user", params=UPLOAD, json=sent)).status_code == 403


async def test_a_refusal_by_policy_says_which_and_what_there_is(plane: ControlPlane) -> None:
    elsewhere = {"type": "location", "locations": [{"type": "country", "name": "FR"}]}
    await plane.api.post("/v0/policies", json={"metadata": {"name": "france"}, "spec": elsewhere})
    sent = {"metadata": {"name": "one"}, "spec": {"policies": ["france"]}}
    message = refusal(await plane.api.post("/v0/agents", params=UPLOAD, json=sent), 403, "Denied")
    assert all(part in message for part in ('"france"', "country FR", "local (continent EU, country DE"))


async def test_an_execution_is_started_read_listed_and_cancelled(plane: ControlPlane) -> None:
    await plane.make_job("sums", SPECS[Kind.JOB])
    address = "/v0/jobs/sums/executions"
    sent = {
        "tasks": [{"n": 1, "nothing": None}, {}],
        "env": {"A": "overriding"},
        "memory": 128,
        "executionId": "mine",
        "id": "request-1",
        "workspaceId": "ignored",
        "jobId": "ignored",
        "newer": 1,
    }
    answer = await plane.api.post(address, json=sent)
    output = sdk.CreateJobExecutionOutput.from_dict(answer.json())
    assert answer.json()["tasks"] == sent["tasks"]
    assert (output.execution_id, output.id, output.job_id, output.workspace_id) == ("mine", "request-1", "sums", HOME)
    read = sdk.JobExecution.from_dict((await plane.api.get(f"{address}/mine")).json())
    assert (read.metadata.id, read.metadata.job, read.metadata.workspace) == ("mine", "sums", HOME)
    assert (read.spec.parallelism, read.spec.timeout, read.spec.memory_override) == (4, 60, 128)
    assert read.spec.env_override.to_dict() == {"A": "***"}
    assert (str(read.status), read.stats.total, read.stats.success) == ("pending", 2, 0)
    assert [(task.metadata.name, str(task.status), task.spec.timeout) for task in read.tasks] == [
        ("task-0", "pending", "1m"),
        ("task-1", "pending", "1m"),
    ]
    listed = sdk.JobExecutionList.from_dict((await plane.api.get(address)).json())
    assert [(one.metadata.id, one.spec.timeout) for one in listed.data] == [("mine", 60)]
    assert "tasks" not in (await plane.api.get(address)).json()["data"][0]
    tasks = sdk.JobExecutionTaskList.from_dict((await plane.api.get(f"{address}/mine/tasks")).json())
    assert [task.metadata.name for task in tasks.data] == ["task-0", "task-1"]
    cancelled = await plane.api.delete(f"{address}/mine")
    assert (cancelled.status_code, str(sdk.JobExecution.from_dict(cancelled.json()).status)) == (200, "cancelling")
    assert cancelled.json()["stats"]["cancelled"] == 2
    assert (await plane.api.delete(f"{address}/mine")).status_code == 200
    assert "overriding" not in cancelled.text + answer.text


@pytest.mark.parametrize("status", list(ExecutionStatus))
def test_every_status_of_an_execution_is_one_that_clients_know(status: ExecutionStatus) -> None:
    assert str(sdk.JobExecutionStatus(status.value)) == status.value


async def test_the_same_request_starts_one_execution_and_another_with_its_id_none(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    sent = {"tasks": [{"n": 1}], "id": "request-1"}
    first, second = [(await plane.api.post("/v0/jobs/sums/executions", json=sent)).json() for _ in range(2)]
    assert first["executionId"] == second["executionId"]
    other = await plane.api.post("/v0/jobs/sums/executions", json={**sent, "tasks": [{"n": 2}]})
    refusal(other, 409, "Conflict")
    assert (await plane.api.get("/v0/jobs/sums/executions")).json()["meta"]["total"] == 1


async def test_an_execution_without_tasks_has_one(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    for sent in ({}, {"tasks": None}, {"tasks": []}, {"tasks": None, "env": None, "memory": None}):
        assert (await plane.api.post("/v0/jobs/sums/executions", json=sent)).json()["tasks"] == [{}]


BAD_EXECUTIONS: list[tuple[Any, str]] = [
    ({"tasks": [1]}, "tasks[0]"),
    ({"tasks": {}}, "tasks"),
    ({"env": {"A": 1}}, "env.A"),
    ({"env": {"A=B": "x"}}, "env"),
    ({"env": {"": "x"}}, "env"),
    ({"env": {"A": "nul\0"}}, "env"),
    ({"env": {"A": "x" * 2**17}}, "env"),
    ({"env": {f"A{n}": "x" for n in range(1001)}}, "env"),
    ({"memory": 0}, "memory"),
    ({"memory": 10**30}, "memory"),
    ({"memory": "128"}, "memory"),
    ({"memory": 4096}, "memory"),
    ({"executionId": "a/b"}, "executionId"),
    ({"executionId": "-a"}, "executionId"),
    ({"executionId": "a\n"}, "executionId"),
    ({"id": "x" * 129}, "id"),
    ({"allowQueue": "no"}, "allowQueue"),
    ([], "body"),
]


async def test_an_execution_that_breaks_a_rule_is_named(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    for sent, field in BAD_EXECUTIONS:
        answer = await plane.api.post("/v0/jobs/sums/executions", json=sent)
        assert refusal(answer, 400, "Invalid").startswith(f"{field}: "), (sent, answer.text)
    assert (await plane.api.get("/v0/jobs/sums/executions")).json()["meta"]["total"] == 0


async def test_a_job_that_is_not_there_not_built_or_disabled_starts_nothing(plane: ControlPlane) -> None:
    refusal(await plane.api.post("/v0/jobs/none/executions", json={}), 404, "NotFound")
    await create(plane, Kind.JOB, "unbuilt")
    refusal(await plane.api.post("/v0/jobs/unbuilt/executions", json={}), 409, "Conflict")
    await plane.make_job("off", {"enabled": False})
    assert "spec.enabled" in refusal(await plane.api.post("/v0/jobs/off/executions", json={}), 403, "Denied")
    for method, path in (("GET", ""), ("GET", "/x"), ("DELETE", "/x"), ("GET", "/x/tasks")):
        refusal(await plane.api.request(method, f"/v0/jobs/none/executions{path}"), 404, "NotFound")


async def test_who_may_not_queue_is_told_when_others_wait(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    for index, status in enumerate((200, 429)):
        sent = {"tasks": [{"n": index}], "allowQueue": False}
        answer = await plane.api.post("/v0/jobs/sums/executions", json=sent)
        assert answer.status_code == status
    assert "Maximum parallel executions limit reached" in refusal(answer, 429, "LimitExceeded")


async def test_a_large_execution_answers_without_its_tasks(plane: ControlPlane) -> None:
    await plane.make_job("many")
    sent = {"tasks": [{"n": n} for n in range(1001)], "executionId": "large"}
    answer = await plane.api.post("/v0/jobs/many/executions", json=sent)
    assert (answer.status_code, "tasks" in answer.json()) == (200, False), "an empty list would say that there are none"
    read = (await plane.api.get("/v0/jobs/many/executions/large")).json()
    assert ("tasks" in read, read["stats"]["total"]) == (False, 1001)
    assert {"metadata", "spec"} <= set(read)


async def test_kinds_that_are_not_served_have_empty_lists_and_say_so_otherwise(plane: ControlPlane) -> None:
    for kind in ("functions", "models", "sandboxes", "drives", "applications"):
        page = await plane.api.get(f"/v0/{kind}")
        assert page.json() == {"data": [], "meta": {"hasMore": False, "nextCursor": "", "total": 0}}
        assert (await plane.api.get(f"/v0/{kind}", headers={"Blaxel-Version": ""})).json() == []
    for kind in ("images", "templates", "volume_templates", "integrations/connections"):
        assert (await plane.api.get(f"/v0/{kind}")).json() == []
    for method, path in (
        ("POST", "/v0/models"),
        ("GET", "/v0/models/gpt"),
        ("PUT", "/v0/sandboxes/box"),
        ("DELETE", "/v0/drives/a/b"),
    ):
        answer = await plane.api.request(method, path, json={} if method in ("POST", "PUT") else None)
        assert "not served by this version" in refusal(answer, 404, "NotFound")


async def test_an_unknown_address_or_method_has_the_contracts_shape(plane: ControlPlane) -> None:
    for method, path, status, reason in (
        ("GET", "/v0/nothing", 404, "NotFound"),
        ("GET", "/", 404, "NotFound"),
        ("GET", "/v0/agents/", 404, "NotFound"),
        ("PATCH", "/v0/agents/one", 405, "MethodNotAllowed"),
        ("POST", "/v0/agents/one", 405, "MethodNotAllowed"),
        ("GET", "/v0/" + "x" * 5000, 404, "NotFound"),
    ):
        message = refusal(await plane.api.request(method, path), status, reason)
        assert message.startswith(f"{method} ") and len(message) < 300


async def test_a_broken_store_is_503_and_what_nobody_foresaw_is_500_without_its_detail(
    plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    await plane.make_job("sums")
    bundle = next(plane.context.data.bundles.iterdir()) / "bundle.json"
    bundle.write_text("{ damaged")
    answer = await plane.api.post("/v0/jobs/sums/executions", json={})
    assert "damaged" not in refusal(answer, 500, "Internal") and str(bundle) not in answer.text
    assert "bundle.json" in caplog.text
    await plane.context.store.stop()
    answer = await plane.api.get("/v0/agents")
    refusal(answer, 503, "StoreUnavailable")
    assert answer.headers["Retry-After"] == "1"
    await plane.context.store.start()
    assert (await plane.api.get("/readyz")).json() == {"status": "ready", "missing": []}


async def test_a_driver_that_does_not_answer_shows_in_readyz_and_status(plane: ControlPlane) -> None:
    (driver,) = plane.context.drivers.values()
    driver.available = False  # type: ignore[attr-defined]
    ready = await plane.http.get("/readyz")
    assert ready.status_code == 503 and "driver scripted" in ready.json()["missing"][0]
    status = await plane.api.get("/v0/homeport/status")
    assert status.status_code == 200 and any("scripted" in note for note in status.json()["notes"])


async def test_an_explanation_names_each_step(plane: ControlPlane) -> None:
    await create(plane, Kind.POLICY, "here")
    sent = {"metadata": {"name": "one"}, "spec": {"policies": ["here"]}}
    await plane.api.post("/v0/agents", params=UPLOAD, json=sent)
    for kind in ("agent", "agents"):
        explained = (await plane.api.get(f"/v0/homeport/explain/{kind}/one")).json()
        assert (explained["outcome"], explained["plan"]) == ("allowed", {"region": "local", "flavor": "x86/cpu"})
        assert any("here" in step["sentence"] for step in explained["steps"])
    refusal(await plane.api.get("/v0/homeport/explain/model/here"), 404, "NotFound")
