"""Reading and following output: the real use case, on units that a test writes for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from homeport.app.context import Intent
from homeport.app.deployments import create_workload, delete_workload
from homeport.app.logs import LogQuery, Record, read_logs
from homeport.build.builder import unit_of
from homeport.core.errors import DriverUnavailable, NotFound
from homeport.core.ids import Kind, RevisionId, UnitId
from homeport.core.units import Outcome, UnitKind
from homeport.jobs.states import ExecutionStatus
from homeport.store.contract import attempt_unit
from homeport.testing.driver_suite import unit_spec
from homeport.testing.loops import ADMIN, WAIT_S, Loops

DONE = Outcome(exit_code=0)


class Reader:
    """Reads in the background; `lines` grows as they come, `ended` when there will be no more."""

    def __init__(self, records: AsyncIterator[Record]) -> None:
        self.lines: list[str] = []
        self._task = asyncio.ensure_future(self._read(records))

    async def _read(self, records: AsyncIterator[Record]) -> None:
        async for record in records:
            self.lines.append(record.text)

    async def has(self, loops: Loops, *lines: str) -> None:
        async def look() -> bool:
            return self.lines == [*lines]

        await loops.until(look)

    async def ended(self) -> list[str]:
        async with asyncio.timeout(WAIT_S):
            await self._task
        return self.lines

    @property
    def over(self) -> bool:
        return self._task.done()


async def follow(loops: Loops, kind: Kind, name: str, query: LogQuery) -> Reader:
    return Reader(await read_logs(loops.context, ADMIN, kind, name, query))


async def build_unit(loops: Loops, uid: str, revision: RevisionId) -> UnitId:
    unit = unit_of(revision)
    labels = {"resource": uid, "revision": revision}
    await loops.driver.start(unit_spec(("x",), id=unit, kind=UnitKind.BUILD, labels=labels))
    return unit


async def test_a_build_is_followed_from_before_its_unit_exists_until_it_is_over(loops: Loops) -> None:
    waiting = await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="echo"), upload=True)
    reader = await follow(loops, Kind.AGENT, "echo", LogQuery(build=True, follow=True))
    revision = await loops.receive(waiting.resource)
    unit = await build_unit(loops, waiting.resource.uid, revision.id)
    loops.driver.write(unit, "resolving")
    await reader.has(loops, "resolving")
    loops.driver.finish(unit, DONE)
    loops.driver.write(unit, "the last line")
    await reader.has(loops, "resolving", "the last line")
    assert not reader.over, "the revision is still being built"
    async with loops.running(loops.builds()):
        assert await reader.ended() == ["resolving", "the last line"]


async def test_an_execution_is_followed_from_before_its_first_task_until_its_end(loops: Loops) -> None:
    await loops.ready_job()
    execution = await loops.execute(tasks=2)
    reader = await follow(loops, Kind.JOB, "sums", LogQuery(execution=execution, follow=True))
    async with loops.running(loops.runner()):
        for index in range(2):
            unit = attempt_unit(execution, index, 1)

            async def started(unit: UnitId = unit) -> bool:
                return await loops.driver.status(unit) is not None

            await loops.until(started)
            loops.driver.write(unit, f"task {index}")
            await reader.has(loops, *[f"task {number}" for number in range(index + 1)])
            assert not reader.over
            loops.driver.finish(unit, DONE)
        assert (await loops.ended(execution)).status is ExecutionStatus.SUCCEEDED
        assert await reader.ended() == ["task 0", "task 1"]


async def test_an_agent_is_followed_until_it_is_gone(loops: Loops) -> None:
    async with loops.running():
        created = await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="echo"), upload=True)
        reader = await follow(loops, Kind.AGENT, "echo", LogQuery(follow=True))
        unit = UnitId("rep-x-0")
        labels = {"resource": created.resource.uid}
        await loops.driver.start(unit_spec(("x",), id=unit, kind=UnitKind.REPLICA, labels=labels))
        loops.driver.write(unit, "hello")
        await reader.has(loops, "hello")
        await delete_workload(loops.context, ADMIN, Kind.AGENT, "echo")
        await reader.ended()


async def _two_units(loops: Loops) -> list[UnitId]:
    created = await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="echo"), upload=True)
    units = [UnitId("rep-a-0"), UnitId("rep-b-0")]
    for unit in units:
        labels = {"resource": created.resource.uid}
        await loops.driver.start(unit_spec(("x",), id=unit, kind=UnitKind.REPLICA, labels=labels))
    for number in range(1200):  # more than one batch of each
        loops.driver.write(units[number % 2], f"line {number}")
    return units


async def test_the_lines_of_several_units_come_in_the_order_in_which_they_were_written(loops: Loops) -> None:
    await _two_units(loops)
    reader = await follow(loops, Kind.AGENT, "echo", LogQuery())
    assert await reader.ended() == [f"line {number}" for number in range(1200)]


async def test_a_follower_of_the_tail_gets_each_later_line_once_and_no_earlier_one(loops: Loops) -> None:
    units = await _two_units(loops)
    reader = await follow(loops, Kind.AGENT, "echo", LogQuery(follow=True, tail=1))
    await reader.has(loops, "line 1199")
    loops.driver.write(units[0], "news of the other")
    await reader.has(loops, "line 1199", "news of the other")
    await loops.store.write(lambda tx: tx.resources.delete(created_uid(loops)))
    assert await reader.ended() == ["line 1199", "news of the other"]


def created_uid(loops: Loops) -> str:
    return loops.driver.started[0].labels["resource"]


async def test_a_follower_sits_out_a_driver_that_is_away(loops: Loops) -> None:
    units = await _two_units(loops)
    reader = await follow(loops, Kind.AGENT, "echo", LogQuery(follow=True, tail=1))
    await reader.has(loops, "line 1199")
    loops.driver.available = False
    loops.driver.write(units[1], "written meanwhile")
    loops.driver.available = True
    await reader.has(loops, "line 1199", "written meanwhile")
    await loops.store.write(lambda tx: tx.resources.delete(created_uid(loops)))
    await reader.ended()


async def test_a_follower_is_told_of_a_driver_that_is_away_for_long_and_goes_on_when_it_is_back(loops: Loops) -> None:
    units = await _two_units(loops)
    reader = await follow(loops, Kind.AGENT, "echo", LogQuery(follow=True, tail=1))
    await reader.has(loops, "line 1199")
    loops.driver.available = False
    loops.driver.write(units[1], "written meanwhile")
    loops.clock.move(1000)

    async def told() -> bool:
        return len(reader.lines) > 1

    await loops.until(told)
    assert reader.lines[1].startswith("[homeport] ") and "follows when it is back" in reader.lines[1]
    loops.clock.move(1000)
    loops.driver.available = True
    await reader.has(loops, "line 1199", reader.lines[1], "written meanwhile")
    loops.driver.available = False
    await loops.store.write(lambda tx: tx.resources.delete(created_uid(loops)))
    await reader.ended()


async def test_what_cannot_be_read_at_all_is_an_error_and_what_breaks_off_says_so(loops: Loops) -> None:
    await _two_units(loops)
    loops.driver.available = False
    with pytest.raises(DriverUnavailable):
        await read_logs(loops.context, ADMIN, Kind.AGENT, "echo", LogQuery())
    loops.driver.available = True
    records = await read_logs(loops.context, ADMIN, Kind.AGENT, "echo", LogQuery())
    assert (await anext(records)).text == "line 0"
    loops.driver.available = False
    texts = [record.text async for record in records]
    assert len(texts) < 1199 and texts[-1].startswith("[homeport] ") and texts[-1].endswith("There may be more.")


async def test_an_unknown_execution_has_no_log(loops: Loops) -> None:
    await loops.ready_job()
    with pytest.raises(NotFound):
        await read_logs(loops.context, ADMIN, Kind.JOB, "sums", LogQuery(execution="exec-none"))
