"""Events as one list: pages, filters, live."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from homeport.app.events import watch_events
from homeport.core.clock import timestamp
from homeport.core.ids import Kind
from homeport.identity.principals import Principal, Role
from homeport.store.records import EventQuery, PlacedEvent
from homeport.testing.control_plane import AWAY, HOME, ControlPlane
from homeport.testing.factories import NOON, make_event

WAIT_S = 20
ADMIN = Principal(sub="sa-1", workspace=HOME, role=Role.ADMIN, scopes=("all",))


async def listed(plane: ControlPlane, **query: Any) -> list[dict[str, Any]]:
    answer = await plane.api.get("/v0/homeport/events", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def tell(plane: ControlPlane, name: str, *reasons: str, minutes: float = 0) -> None:
    def write(tx: Any) -> None:
        uid = tx.resources.get(HOME, Kind.JOB, name).uid
        for reason in reasons:
            moment = NOON + timedelta(minutes=minutes)
            tx.events.add(make_event(resource_uid=uid, reason=reason, revision=f"rev-{name}", time=moment))

    await plane.context.store.write(write)


@pytest.fixture
async def told(plane: ControlPlane) -> ControlPlane:
    for name in ("one", "two"):
        await plane.make_job(name)
    await tell(plane, "one", "First", minutes=1)
    await tell(plane, "two", "Second", minutes=2)
    await tell(plane, "one", "Third", minutes=3)
    return plane


async def test_the_newest_come_first_with_what_they_happened_to(told: ControlPlane) -> None:
    newest = (await listed(told))[:3]
    assert [(one["kind"], one["name"], one["reason"]) for one in newest] == [
        ("job", "one", "Third"),
        ("job", "two", "Second"),
        ("job", "one", "First"),
    ]
    assert newest[0]["time"] == timestamp(NOON + timedelta(minutes=3))
    assert newest[0]["number"] > newest[1]["number"] > newest[2]["number"]


async def test_pages_follow_one_another_without_a_gap(told: ControlPlane) -> None:
    everything = await listed(told, limit=500)
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await told.api.get("/v0/homeport/events", params=query)).json()
        found += page["data"]
        if "next" not in page:
            break
        query["before"] = page["next"]
    assert found == everything and len(found) > 4


@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ({"name": "two", "revision": "rev-two"}, ["Second"]),
        ({"kind": "jobs", "reason": "Third"}, ["Third"]),
        ({"kind": "agent"}, []),
        ({"since": timestamp(NOON + timedelta(minutes=2))}, ["Third", "Second"]),
        (
            {"since": "2026-01-01T00:00:00Z", "until": timestamp(NOON + timedelta(minutes=2)), "reason": "First"},
            ["First"],
        ),
        ({"reason": "Nothing"}, []),
    ],
)
async def test_filters_leave_what_they_name(told: ControlPlane, query: dict[str, str], reasons: list[str]) -> None:
    assert [one["reason"] for one in await listed(told, **query)] == reasons


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "nothing"},
        {"limit": 0},
        {"before": 0},
        {"before": 2**60},
        {"since": "yesterday"},
        {"after": 3},
        {"follow": "true", "until": "2026-01-01T00:00:00Z"},
        {"reason": "x" * 300},
    ],
)
async def test_what_breaks_a_rule_is_400(plane: ControlPlane, query: dict[str, Any]) -> None:
    assert (await plane.api.get("/v0/homeport/events", params=query)).status_code == 400


async def test_another_workspace_sees_none_of_them(told: ControlPlane) -> None:
    stranger = await told.key(Role.ADMIN, workspace=AWAY)
    answer = await told.send(stranger, "GET", "/v0/homeport/events")
    assert (answer.status_code, answer.json()) == (200, {"data": []})


async def test_of_each_resource_the_newest_hundred_are_kept(told: ControlPlane) -> None:
    await tell(told, "one", *(f"R{number}" for number in range(150)))
    assert len(await listed(told, name="one", limit=500)) == 100
    assert len(await listed(told, name="two", reason="Second")) == 1


async def test_a_watcher_misses_none_when_the_newest_are_removed_with_their_resource(told: ControlPlane) -> None:
    events = await watch_events(told.context, ADMIN, EventQuery(limit=1))
    seen: list[str] = []
    reading = asyncio.ensure_future(_read(events, seen))
    await tell(told, "two", "Fourth")
    await _until(lambda: seen == ["Fourth"])
    uid = await told.context.store.read(lambda tx: tx.resources.get(HOME, Kind.JOB, "two").uid)  # type: ignore[union-attr]
    await told.context.store.write(lambda tx: tx.resources.delete(uid))
    await tell(told, "one", "Fifth", "Sixth")
    await _until(lambda: seen == ["Fourth", "Fifth", "Sixth"])
    reading.cancel()


async def test_a_watcher_that_names_where_it_stands_gets_what_came_since(told: ControlPlane) -> None:
    last = (await listed(told, reason="First"))[0]["number"]
    events = await watch_events(told.context, ADMIN, EventQuery(limit=1, after=last))
    seen: list[str] = []
    reading = asyncio.ensure_future(_read(events, seen))
    await _until(lambda: seen == ["Second", "Third"])
    reading.cancel()


async def _read(events: Any, seen: list[str]) -> None:
    one: PlacedEvent
    async for one in events:
        seen.append(one.event.reason)


async def _until(state: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not state():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
