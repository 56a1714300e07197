"""Which lines are read: by who wrote them, when, how serious they are and what they hold; and how many are held."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from homeport.app import log_units
from homeport.app.context import Intent
from homeport.app.deployments import create_workload
from homeport.app.logs import LogQuery, Record, read_logs
from homeport.app.severity import Severity
from homeport.core.ids import Kind, UnitId
from homeport.core.units import Outcome, UnitKind
from homeport.testing.driver_suite import unit_spec
from homeport.testing.loops import ADMIN, Loops


@pytest.fixture
async def uid(loops: Loops) -> str:
    deployment = await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="echo"), upload=True)
    return deployment.resource.uid


async def replica(loops: Loops, uid: str, name: str, revision: str = "rev-1") -> UnitId:
    labels = {"resource": uid, "revision": revision, "replica": name}
    unit = UnitId(f"unit-{name}")
    await loops.driver.start(unit_spec(("x",), id=unit, kind=UnitKind.REPLICA, labels=labels))
    return unit


def write(loops: Loops, unit: UnitId, *lines: str) -> None:
    for line in lines:
        loops.driver.write(unit, line)


async def read(loops: Loops, query: LogQuery) -> list[str]:
    return [record.text async for record in await read_logs(loops.context, ADMIN, Kind.AGENT, "echo", query)]


async def test_lines_are_chosen_by_who_wrote_them(loops: Loops, uid: str) -> None:
    for name, revision in (("a", "rev-1"), ("b", "rev-1"), ("c", "rev-2")):
        write(loops, await replica(loops, uid, name, revision), f"of {name}")
    assert await read(loops, LogQuery(replica="b")) == ["of b"]
    assert await read(loops, LogQuery(revision="rev-2")) == ["of c"]
    assert await read(loops, LogQuery(revision="rev-2", replica="a")) == []


async def test_lines_are_chosen_by_what_they_hold(loops: Loops, uid: str) -> None:
    unit = await replica(loops, uid, "a")
    write(loops, unit, "INFO: began", "ERROR: it broke", "WARNING: 100% [odd] (text)", "ERROR: again")
    errors = frozenset({Severity.ERROR})
    assert await read(loops, LogQuery(severities=errors)) == ["ERROR: it broke", "ERROR: again"]
    assert await read(loops, LogQuery(text="[odd] (")) == ["WARNING: 100% [odd] (text)"]
    assert await read(loops, LogQuery(severities=errors, text="broke")) == ["ERROR: it broke"]
    assert await read(loops, LogQuery(severities=errors, tail=1)) == ["ERROR: again"]
    assert await read(loops, LogQuery(text="nothing like it", tail=3)) == []


async def test_lines_are_chosen_by_when_they_were_written(loops: Loops, uid: str) -> None:
    unit = await replica(loops, uid, "a")
    write(loops, unit, *map(str, range(10)))
    times = [record.time async for record in await _records(loops)]
    assert await read(loops, LogQuery(since=times[7])) == ["7", "8", "9"]
    assert await read(loops, LogQuery(until=times[2])) == ["0", "1"]
    assert await read(loops, LogQuery(since=times[3], until=times[6])) == ["3", "4", "5"]
    assert await read(loops, LogQuery(since=times[3], until=times[6], tail=2)) == ["4", "5"]
    assert await read(loops, LogQuery(since=times[9] + timedelta(days=1))) == []


async def test_a_follower_of_the_last_lines_gets_what_comes_and_nothing_twice(loops: Loops, uid: str) -> None:
    unit = await replica(loops, uid, "a")
    write(loops, unit, *map(str, range(1000)))
    records = await read_logs(loops.context, ADMIN, Kind.AGENT, "echo", LogQuery(follow=True, tail=2))
    found = [(await anext(records)).text for _ in range(2)]
    write(loops, unit, "1000")
    loops.driver.finish(unit, Outcome(exit_code=1))
    write(loops, await replica(loops, uid, "b"), "of the next")
    write(loops, await replica(loops, uid, "c", "rev-2"), "of the next revision")
    found += [(await anext(records)).text for _ in range(3)]
    assert found == ["998", "999", "1000", "of the next", "of the next revision"]


async def test_what_ended_before_the_wanted_time_is_not_even_read(
    loops: Loops, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await replica(loops, uid, "old")
    write(loops, old, "long ago")
    loops.driver.finish(old, Outcome(exit_code=0))
    asked: list[UnitId] = []
    real = type(loops.driver).log

    async def log(driver: object, unit: UnitId, offset: int, limit: int) -> object:
        asked.append(unit)
        return await real(driver, unit, offset, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(type(loops.driver), "log", log)
    later = loops.context.clock.now() + timedelta(days=365)
    assert await read(loops, LogQuery(since=later)) == []
    assert asked == []
    assert await read(loops, LogQuery()) == ["long ago"] and set(asked) == {old}


async def test_many_units_are_open_with_few_lines_each(loops: Loops, uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_units, "OPEN_LINES", 20)
    most = 0
    real = type(loops.driver).log

    async def log(driver: object, unit: UnitId, offset: int, limit: int) -> object:
        nonlocal most
        most = max(most, limit)
        return await real(driver, unit, offset, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(type(loops.driver), "log", log)
    for number in range(10):
        write(loops, await replica(loops, uid, f"r{number}"), *("line" for _ in range(9)))
    assert len(await read(loops, LogQuery())) == 90
    assert most == 2


async def _records(loops: Loops) -> AsyncIterator[Record]:
    return await read_logs(loops.context, ADMIN, Kind.AGENT, "echo", LogQuery())
