"""What the public SDKs and the public command line take for granted, where no other test has it: each was seen to break
a client that met something else."""

from enum import StrEnum
from typing import Any, get_args

import pytest
from blaxel.core.client.models.job_execution_status import JobExecutionStatus
from blaxel.core.client.models.job_execution_task_status import JobExecutionTaskStatus
from blaxel.core.client.models.status import Status

from homeport.core.ids import WORKLOADS, Kind
from homeport.jobs.states import ExecutionStatus, TaskStatus
from homeport.testing.control_plane import HOME, VERSION, ControlPlane
from homeport.wire import executions
from homeport.workloads.states import WorkloadStatus

KINDS = ["policies", "agents", "functions", "jobs"]
BODIES: dict[str, dict[str, Any]] = {
    "policies": {
        "metadata": {"name": "one"},
        "spec": {"type": "location", "locations": [{"type": "location", "name": "local"}]},
    },
    "agents": {"metadata": {"name": "one"}, "spec": {}},
    "functions": {"metadata": {"name": "one"}, "spec": {}},
    "jobs": {"metadata": {"name": "one"}, "spec": {}},
}


async def create(plane: ControlPlane, kind: str) -> None:
    answer = await plane.api.post(f"/v0/{kind}", params={"upload": "true"}, json=BODIES[kind])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (WorkloadStatus, Status),
        (ExecutionStatus, JobExecutionStatus),
        (TaskStatus, JobExecutionTaskStatus),
    ],
)
def test_every_status_is_one_that_the_python_sdk_can_read(ours: type[StrEnum], theirs: type[StrEnum]) -> None:
    assert {status.value for status in ours} <= {status.value for status in theirs}


def test_the_statuses_of_the_wire_are_readable_too() -> None:
    assert {*get_args(executions.ExecutionStatus)} <= {status.value for status in JobExecutionStatus}
    assert {*get_args(executions.TaskStatus)} <= {status.value for status in JobExecutionTaskStatus}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_missing_thing_is_404_on_put_so_that_a_post_follows_and_an_archive_is_put_by_header_alone(
    plane: ControlPlane, kind: str
) -> None:
    query = {"upload": "true"}
    assert (await plane.api.put(f"/v0/{kind}/one", params=query, json=BODIES[kind])).status_code == 404
    made = await plane.api.post(f"/v0/{kind}", params=query, json=BODIES[kind])
    assert made.status_code == 200
    assert ("X-Blaxel-Upload-Url" in made.headers) is (kind != "policies")
    assert "uploads" not in made.text


@pytest.mark.parametrize("kind", KINDS)
async def test_no_answer_holds_a_null_and_every_one_says_that_it_is_json(plane: ControlPlane, kind: str) -> None:
    await create(plane, kind)
    answers = [
        await plane.api.get(f"/v0/{kind}"),
        await plane.api.get(f"/v0/{kind}", headers={"Blaxel-Version": "2026-04-16"}),
        await plane.api.get(f"/v0/{kind}/one"),
        await plane.api.get(f"/v0/{kind}/never-was"),
        await plane.api.delete(f"/v0/{kind}/one"),
    ]
    for answer in answers:
        assert answer.headers["content-type"].startswith("application/json")
        assert "null" not in answer.text
    assert answers[-1].status_code == 200 and answers[-1].json()["metadata"]["name"] == "one"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_look_up_ignores_what_belongs_to_the_call_that_follows(plane: ControlPlane, kind: str) -> None:
    """`bl run` sends the user's parameters and headers with its look-up, too."""
    await create(plane, kind)
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Content-Type": "application/json"}
    answer = await plane.api.get(f"/v0/{kind}/one", params={"limit": "x", "stream": "true", "a b": ""}, headers=headers)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("kind", WORKLOADS)
async def test_a_workload_shows_where_it_answers_in_lists_too(plane: ControlPlane, kind: Kind) -> None:
    await create(plane, kind.plural)
    url = f"http://127.0.0.1:8080/{HOME}/{kind.plural}/one"
    assert (await plane.api.get(f"/v0/{kind.plural}/one")).json()["metadata"]["url"] == url
    assert (await plane.api.get(f"/v0/{kind.plural}")).json()["data"][0]["metadata"]["url"] == url


async def test_more_and_cursor_agree_and_no_cursor_comes_twice(plane: ControlPlane) -> None:
    for number in range(5):
        body = {**BODIES["policies"], "metadata": {"name": f"p{number}"}}
        assert (await plane.api.post("/v0/policies", json=body)).status_code == 200
    cursors, cursor = [], ""
    while True:
        meta = (await plane.api.get("/v0/policies", params={"limit": 2, "cursor": cursor})).json()["meta"]
        assert meta["hasMore"] is bool(meta["nextCursor"]) and meta["total"] == 5
        if not (cursor := meta["nextCursor"]):
            break
        cursors.append(cursor)
    assert len(cursors) == len({*cursors}) == 2


async def test_executions_are_started_at_either_address_and_their_id_is_told(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    for number, base in enumerate((f"/{HOME}/jobs/sums", "/v0/jobs/sums")):
        # Fields of the SDK's request that name what the address names already are ignored.
        body = {"tasks": [{"n": 1}], "executionId": f"exec-{number}", "jobId": "other", "workspaceId": "other"}
        reply = (await plane.api.post(f"{base}/executions", json=body)).json()
        assert (reply["executionId"], reply["jobId"], reply["workspaceId"]) == (f"exec-{number}", "sums", HOME)
        assert reply["tasks"] == [{"n": 1}]
    listed = (await plane.api.get("/v0/jobs/sums/executions")).json()
    assert [item["metadata"]["id"] for item in listed["data"]] == ["exec-1", "exec-0"]
    assert all({"metadata", "spec", "status"} <= item.keys() for item in listed["data"])


async def test_errors_have_the_three_keys_that_both_sdks_read(plane: ControlPlane) -> None:
    await create(plane, "agents")
    refused = [
        await plane.api.post("/v0/agents", json=BODIES["agents"], params={"upload": "true"}),
        await plane.api.get("/v0/agents/never-was"),
        await plane.api.post("/v0/agents", content=b"{"),
        await plane.api.post("/v0/policies", json={"metadata": {"name": "NO"}, "spec": {}}),
        await plane.http.get("/v0/agents"),
        await plane.api.get("/v0/agents", headers={"Blaxel-Version": VERSION, "X-Blaxel-Workspace": "elsewhere"}),
        await plane.api.post("/v0/login/device", json={"client_id": "blaxel", "scope": "offline_access"}),
        await plane.api.patch("/v0/agents/one", json={}),
    ]
    for answer in refused:
        body = answer.json()
        assert body["code"] == answer.status_code >= 400
        assert isinstance(body["error"], str) and isinstance(body["message"], str) and body["message"]


async def test_an_old_client_gets_bare_lists(plane: ControlPlane) -> None:
    for path in ("policies", "agents", "jobs", "functions", "sandboxes", "volumes"):
        answer = await plane.api.get(f"/v0/{path}", headers={"Blaxel-Version": ""})
        assert answer.json() == []
    for path in ("workspaces", "integrations/connections", "images", "volume_templates", "templates"):
        assert isinstance((await plane.api.get(f"/v0/{path}")).json(), list)
