"""Lists: the contract's versions, pages, cursors, order, search and filters."""

import base64
import json
import os
from typing import Any

import pytest

os.environ["DO_NOT_TRACK"] = "1"  # before the import, which else reports to its vendor

from blaxel.core.client import models as sdk

from homeport.core.ids import WRITTEN, ExecutionId, Kind
from homeport.store.contract import Transaction
from homeport.testing.control_plane import HOME, ControlPlane
from homeport.testing.factories import make_execution, make_resource
from homeport.workloads.states import WorkloadStatus

LISTS = {kind: f"/v0/{kind.plural}" for kind in WRITTEN}


async def fill(plane: ControlPlane, names: list[str], kind: Kind = Kind.AGENT, **changes: Any) -> None:
    """Resources of these names, each made a second after the one before."""
    for name in names:
        plane.clock.move(1)
        now = plane.clock.now()
        resource = make_resource(name, kind=kind, created_at=now, updated_at=now, **changes)

        def write(tx: Transaction, resource: Any = resource) -> None:
            tx.resources.insert(resource)

        await plane.context.store.write(write)


async def page(plane: ControlPlane, path: str = "/v0/agents", **query: Any) -> tuple[list[str], dict[str, Any]]:
    answer = await plane.api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"data", "meta"} and set(body["meta"]) == {"hasMore", "nextCursor", "total"}
    return [item["metadata"].get("name") or item["metadata"]["id"] for item in body["data"]], body["meta"]


async def refused(plane: ControlPlane, field: str, path: str = "/v0/agents", **query: Any) -> str:
    answer = await plane.api.get(path, params=query)
    body = answer.json()
    assert (answer.status_code, body["error"], body["message"].split(":")[0]) == (400, "Invalid", field), answer.text
    return str(body["message"])


async def test_a_search_for_nul_finds_nothing(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    made = await plane.api.post("/v0/jobs/sums/executions", json={"tasks": [{}], "executionId": "one"})
    assert made.status_code == 200, made.text
    executions = "/v0/jobs/sums/executions"
    for path in ("/v0/jobs", executions, f"{executions}/one/tasks"):
        assert (await plane.api.get(path, params={"q": "\0ab"})).json()["data"] == []


@pytest.mark.parametrize("path", [*LISTS.values(), "/v0/models"])
async def test_the_version_decides_the_shape(plane: ControlPlane, path: str) -> None:
    for version, paged in (
        (None, False),
        ("", False),
        ("2026-04-16", False),
        ("2026-04-16.preview", False),
        ("2026-04-20", False),
        ("2026-04-28", True),
        ("2026-04-28.preview", True),
        ("2026-09-22", True),
    ):
        key = plane.api.headers["Authorization"]
        headers = {"Authorization": key, **({} if version is None else {"Blaxel-Version": version})}
        answer = await plane.http.get(path, headers=headers)
        assert answer.status_code == 200 and isinstance(answer.json(), dict if paged else list), (version, answer.text)


async def test_an_unknown_version_is_refused_at_every_operation(plane: ControlPlane) -> None:
    unknown = (
        "2020-01-01",
        "2026-04-28.beta",
        "2026-04-28.preview.preview",
        "20260428",
        "2026-W18-2",
        "latest",
        "x" * 9999,
    )
    for version in unknown:
        answer = await plane.api.get("/v0/agents", headers={"Blaxel-Version": version})
        assert (answer.status_code, set(answer.json())) == (400, {"error", "message"}), version
        assert answer.json()["error"] == "invalid_api_version"
        assert version[:40] in answer.json()["message"] and "2026-04-28" in answer.json()["message"]
        assert len(answer.text) < 400
    for method, path in (
        ("GET", "/v0/agents/one"),
        ("POST", "/v0/policies"),
        ("DELETE", "/v0/jobs/one"),
        ("POST", "/v0/jobs/one/executions"),
        ("GET", f"/{HOME}/jobs/one/executions"),
        ("GET", "/v0/homeport/status"),
        ("GET", "/v0/models/gpt"),
    ):
        answer = await plane.api.request(method, path, headers={"Blaxel-Version": "1999-12-31"})
        assert answer.json().get("error") == "invalid_api_version", (path, answer.text)


async def test_the_old_version_answers_everything_and_applies_no_parameter(plane: ControlPlane) -> None:
    names = [f"agent-{number:03}" for number in range(203)]
    await fill(plane, names)
    old = {"Blaxel-Version": "2026-04-16"}
    query = {"limit": "2", "sort": "nonsense", "q": "no such", "cursor": "damaged", "anchor": "x", "status": "failed"}
    answer = await plane.api.get("/v0/agents", params=query, headers=old)
    assert [item["metadata"]["name"] for item in answer.json()] == names[::-1]
    bad = await plane.api.get("/v0/agents", params={"status": "asleep"}, headers=old)
    assert (bad.status_code, "status" in bad.json()["message"]) == (400, True)


@pytest.mark.parametrize("kind", WRITTEN)
async def test_pages_follow_each_other_in_every_order(plane: ControlPlane, kind: Kind) -> None:
    names = ["delta", "alpha", "echo", "bravo", "charlie"]
    await fill(plane, names, kind)
    for sort, expected in (
        (None, names[::-1]),
        ("createdAt:desc", names[::-1]),
        ("createdAt:asc", names),
        ("name:asc", sorted(names)),
        ("name:desc", sorted(names)[::-1]),
    ):
        seen, cursors, cursor = [], set(), ""
        while True:
            query = {"limit": 2, **({"sort": sort} if sort else {}), **({"cursor": cursor} if cursor else {})}
            part, meta = await page(plane, LISTS[kind], **query)
            seen += part
            cursor = meta["nextCursor"]
            assert (meta["total"], meta["hasMore"]) == (5, bool(cursor)) and cursor not in cursors
            cursors.add(cursor)
            if not cursor:
                break
        assert seen == expected, sort


async def test_limits_have_a_default_a_most_and_a_least(plane: ControlPlane) -> None:
    await fill(plane, [f"agent-{number:03}" for number in range(201)])
    for asked, shown in ((None, 50), (1, 1), (200, 200), (201, 200), (10**30, 200)):
        names, meta = await page(plane, **({} if asked is None else {"limit": asked}))
        assert (len(names), meta["hasMore"], meta["total"]) == (shown, True, 201)
    for wrong in ("0", "-1", "many", "1.5", "", "9" * 5000):
        await refused(plane, "limit", limit=wrong)


async def test_a_cursor_belongs_to_its_query_and_to_its_day(plane: ControlPlane) -> None:
    await fill(plane, ["agent-a", "agent-b", "agent-c"], labels={"team": "x1"})
    await fill(plane, ["job-a", "job-b"], Kind.JOB)
    query = {"limit": 1, "sort": "name:asc", "q": "agent", "status": "DEPLOYED"}
    _, meta = await page(plane, **query)
    cursor = meta["nextCursor"]
    assert (await page(plane, **query, cursor=cursor))[0] == ["agent-b"]
    assert (await page(plane, **{**query, "limit": 2, "status": "deployed", "q": " AGENT "}, cursor=cursor))[0] == [
        "agent-b",
        "agent-c",
    ]
    for other in ({"sort": "name:desc"}, {"q": "agents"}, {"q": ""}, {"status": "FAILED"}, {"status": ""}):
        await refused(plane, "cursor", **{**query, **other}, cursor=cursor)
    await refused(plane, "cursor", "/v0/jobs", **query, cursor=cursor)
    plane.clock.move(24 * 3600)
    assert (await page(plane, **query, cursor=cursor))[0] == ["agent-b"]
    plane.clock.move(1)
    assert "24 hours" in await refused(plane, "cursor", **query, cursor=cursor)


async def test_a_damaged_cursor_is_refused_and_never_a_failure(plane: ControlPlane) -> None:
    await fill(plane, ["agent-a", "agent-b"])
    _, meta = await page(plane, limit=1)
    cursor = meta["nextCursor"]
    for position in range(0, len(cursor), 3):
        for other in ("A", "9", "_"):
            if cursor[position] != other:
                await refused(plane, "cursor", limit=1, cursor=cursor[:position] + other + cursor[position + 1 :])
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    made_up: list[Any] = [
        [],
        {},
        {"a": 1, "b": 2, "c": 3, "d": 4},
        "text",
        1,
        None,
        [*parts, 1],
        [["x"], {"y": 1}, *parts[2:]],
        [*parts[:2], "0001-01-01T00:00:00+23:59", parts[3]],
        [*parts[:2], "9999-12-31T23:59:59-23:59", parts[3]],
        [*parts[:2], "yesterday", parts[3]],
        [*parts[:2], None, parts[3]],
        [*parts[:2], parts[2], 5],
        [10**30, *parts[1:]],
    ]
    texts = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode() for one in made_up]
    deep = base64.urlsafe_b64encode(b"[" * 20_000).decode()
    for text in (*texts, deep, cursor + "A", cursor[:-1], f" {cursor}", "é", "\0", "%%%", "=", "a" * 60_000):
        await refused(plane, "cursor", limit=1, cursor=text)


async def test_search_looks_at_names_and_labels(plane: ControlPlane) -> None:
    await fill(plane, ["robin"], display_name="Red Breast", labels={"colour": "crimson"})
    await fill(plane, ["raven"])
    for text, found in (
        ("rob", ["robin"]),
        ("OBI", ["robin"]),
        ("  robin ", ["robin"]),
        ("breast", ["robin"]),
        ("colour", ["robin"]),
        ("crimson", ["robin"]),
        ("r", ["raven", "robin"]),
        ("", ["raven", "robin"]),
        ("%%", []),
        ("r_ven", []),
        ("'; drop table resources; --", []),
        ("ro\0bin", []),
        ("\ud7ff\U0010ffff", []),
        ("x" * 200, []),
    ):
        names, meta = await page(plane, q=text)
        assert (names, meta["total"]) == (found, 2), text
    await refused(plane, "q", q="x" * 201)
    assert (await plane.api.get("/v0/agents?q=%ED%A0%80%FF")).status_code == 200


async def test_a_status_narrows_a_list_of_workloads(plane: ControlPlane) -> None:
    await fill(plane, ["good"])
    await fill(plane, ["bad"], status=WorkloadStatus.FAILED)
    every = ",".join(status.value for status in sdk.Status)
    for status, found in (
        ("FAILED", ["bad"]),
        ("failed, deployed", ["bad", "good"]),
        ("terminated", []),
        ("ARCHIVED", []),
        ("", ["bad", "good"]),
        (",", ["bad", "good"]),
        (every, ["bad", "good"]),
    ):
        names, meta = await page(plane, status=status)
        assert (names, meta["total"]) == (found, 2), status
    for wrong in ("asleep", "FAILED,asleep", "DEPLOYED;FAILED", "\0"):
        await refused(plane, "status", status=wrong)


async def test_policies_have_no_status_to_be_narrowed_by(plane: ControlPlane) -> None:
    await fill(plane, ["here"], Kind.POLICY, spec={"type": "location"})
    for status in ("DEPLOYED", "asleep"):
        assert (await page(plane, "/v0/policies", status=status))[0] == ["here"]
        old = await plane.api.get("/v0/policies", params={"status": status}, headers={"Blaxel-Version": ""})
        assert len(old.json()) == 1


async def test_the_last_page_is_reached_at_once(plane: ControlPlane) -> None:
    await fill(plane, ["first", "second", "third"])
    names, meta = await page(plane, limit=2, anchor="end")
    assert (names, meta["hasMore"], meta["nextCursor"]) == (["second", "first"], False, "")
    assert (await page(plane, limit=2, anchor="end", sort="createdAt:asc"))[0] == ["second", "third"]
    assert (await page(plane, limit=2, anchor=""))[0] == ["third", "second"]
    await refused(plane, "anchor", anchor="end", sort="name:asc")
    await refused(plane, "anchor", anchor="start")


async def test_an_unknown_order_is_refused_and_unknown_parameters_are_ignored(plane: ControlPlane) -> None:
    for wrong in ("createdAt", "name:up", "NAME:ASC", "updatedAt:desc"):
        assert "createdAt:desc" in await refused(plane, "sort", sort=wrong)
    assert (await page(plane, anything="x", externalId="y"))[0] == []


async def test_executions_are_paged_newest_first_and_by_offset_in_the_old_version(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    ids = [f"exec-{number:03}" for number in range(101)]
    for execution_id in ids:
        plane.clock.move(1)
        execution = make_execution(execution_id, created_at=plane.clock.now(), updated_at=plane.clock.now())
        await plane.context.store.write(lambda tx, execution=execution: tx.executions.insert(execution))  # type: ignore[misc]
    path, newest = "/v0/jobs/sums/executions", ids[::-1]
    first, meta = await page(plane, path)
    assert (first, meta["total"]) == (newest[:20], 101)
    assert (await page(plane, path, cursor=meta["nextCursor"]))[0] == newest[20:40]
    names, meta = await page(plane, path, limit=1000)
    assert (len(names), meta["hasMore"]) == (100, True)
    names, meta = await page(plane, path, limit=1000, cursor=meta["nextCursor"])
    assert (names, meta["nextCursor"]) == (ids[:1], "")
    # Paging by offset is the old version's alone.
    assert (await page(plane, path, limit=2, offset=50))[0] == newest[:2]
    for offset, shown in ((0, newest[:2]), (2, newest[2:4]), (-5, newest[:2]), (10**30, []), (2**63, [])):
        old = await plane.api.get(path, params={"limit": 2, "offset": offset}, headers={"Blaxel-Version": ""})
        assert [item["metadata"]["id"] for item in old.json()] == shown, offset
    await refused(plane, "offset", path, offset="x")
    await refused(plane, "limit", path, limit=0)


async def test_tasks_are_paged_in_order_from_the_version_with_pages_on(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    sent = {"tasks": [{"n": n} for n in range(205)], "executionId": "many"}
    await plane.api.post("/v0/jobs/sums/executions", json=sent)
    path = "/v0/jobs/sums/executions/many/tasks"
    names, meta = await page(plane, path)
    assert (names[0], names[-1], len(names), meta["total"]) == ("task-0", "task-49", 50, 205)
    names, meta = await page(plane, path, limit=500)
    assert (len(names), meta["hasMore"]) == (200, True)
    names, end = await page(plane, path, limit=500, cursor=meta["nextCursor"])
    assert (names, end["nextCursor"]) == ([f"task-{n}" for n in range(200, 205)], "")
    await plane.api.post("/v0/jobs/sums/executions", json={**sent, "executionId": "other"})
    await refused(plane, "cursor", "/v0/jobs/sums/executions/other/tasks", cursor=meta["nextCursor"])
    await refused(plane, "cursor", "/v0/jobs/sums/executions", cursor=meta["nextCursor"])
    old = await plane.api.get(path, headers={"Blaxel-Version": "2026-04-16"})
    assert (old.status_code, "2026-04-28" in old.json()["message"]) == (404, True)


async def test_the_history_of_a_job_outlives_it(plane: ControlPlane) -> None:
    await plane.context.store.write(lambda tx: tx.executions.insert(make_execution("old", job="gone")))
    assert (await page(plane, "/v0/jobs/gone/executions"))[0] == ["old"]
    assert await plane.context.store.read(lambda tx: tx.executions.get(ExecutionId("old"))) is not None
    assert (await plane.api.get("/v0/jobs/gone/executions/old")).status_code == 200


async def test_executions_have_an_order_a_search_and_cursors_bound_to_both(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    at = "/v0/jobs/sums/executions"
    for name in ("b-one", "a-two", "c-One"):
        plane.clock.move(1)
        assert (await plane.api.post(at, json={"executionId": name})).status_code == 200
    for sort, names in (
        ("createdAt:desc", ["c-One", "a-two", "b-one"]),
        ("createdAt:asc", ["b-one", "a-two", "c-One"]),
        ("name:asc", ["a-two", "b-one", "c-One"]),
        ("name:desc", ["c-One", "b-one", "a-two"]),
    ):
        assert (await page(plane, at, sort=sort))[0] == names
    found, meta = await page(plane, at, q=" ONE ", limit=1)
    assert (found, meta["total"], meta["hasMore"]) == (["c-One"], 3, True)
    assert (await page(plane, at, q="one", limit=1, cursor=meta["nextCursor"]))[0] == ["b-one"]
    await refused(plane, "cursor", at, cursor=meta["nextCursor"])
    await refused(plane, "cursor", at, q="one", sort="name:asc", cursor=meta["nextCursor"])
    await refused(plane, "sort", at, sort="status:asc")
    await refused(plane, "q", at, q="x" * 201)
    plane.clock.move(24 * 3600 + 1)
    await refused(plane, "cursor", at, q="one", cursor=meta["nextCursor"])
    old = await plane.api.get(
        at, params={"sort": "nonsense", "q": "one", "offset": 1}, headers={"Blaxel-Version": "2026-04-16"}
    )
    assert [item["metadata"]["id"] for item in old.json()] == ["a-two", "b-one"]


async def test_tasks_have_an_order_a_search_and_cursors_bound_to_both(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    await plane.api.post("/v0/jobs/sums/executions", json={"executionId": "one", "tasks": [{}] * 12})
    at = "/v0/jobs/sums/executions/one/tasks"
    names = [f"task-{number}" for number in range(12)]
    for sort in ("createdAt:desc", "createdAt:asc", "name:asc"):
        assert (await page(plane, at, sort=sort))[0] == names, "made at once: their order is their number's"
    assert (await page(plane, at, sort="name:desc"))[0] == names[::-1]
    found, meta = await page(plane, at, q="K-1", limit=2)
    assert (found, meta["total"]) == (["task-1", "task-10"], 12)
    assert (await page(plane, at, q="k-1", limit=2, cursor=meta["nextCursor"]))[0] == ["task-11"]
    await refused(plane, "cursor", at, q="k-2", cursor=meta["nextCursor"])
    await refused(plane, "cursor", at, q="k-1", sort="name:desc", cursor=meta["nextCursor"])
