"""What is promised of executions and tasks (docs/semantics.md), held by the real runner on a real store, the programs
scripted. At the end of each, the history is checked as well."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from homeport.app.executions import ExecutionIntent, cancel_execution, create_execution, read_task_arguments
from homeport.core.errors import Conflict, DriverUnavailable
from homeport.core.ids import ExecutionId, UnitId
from homeport.core.units import Outcome, UnitKind, UnitSpec, UnitState, UnitStatus
from homeport.jobs.history import Report
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.runner.verification import examine_execution
from homeport.store.contract import Transaction, attempt_unit
from homeport.testing.loops import ADMIN, Killer, Loops
from homeport.testing.scripted_driver import Behaviour, ScriptedDriver

DONE, BROKEN = Outcome(exit_code=0), Outcome(exit_code=3)
STOPPED = Outcome(signal=15, stopped=True)
GONE = Outcome(lost=True, reason="nobody knows")


async def verified(loops: Loops, execution_id: ExecutionId) -> Report:
    """The report on a history without a flaw."""
    execution = await loops.execution(execution_id)
    report = await loops.store.read(lambda tx: examine_execution(tx, execution))
    assert (report.violations, report.complete) == ([], True)
    return report


async def runs(loops: Loops, execution: ExecutionId, count: int) -> list[UnitId]:
    """The units of the execution's open attempts once so many are known to run."""

    async def look() -> list[UnitId] | None:
        found = await loops.store.read(lambda tx: tx.executions.open_attempts())
        mine = [one.unit for one, _ in found if one.execution_id == execution and one.state is AttemptState.RUNNING]
        return mine if len(mine) >= count else None

    return await loops.until(look)


async def states(loops: Loops, execution: ExecutionId, index: int = 0) -> list[AttemptState]:
    return [attempt.state for attempt in await loops.attempts(execution, index)]


async def test_an_interrupted_attempt_counts_against_nothing_and_a_lost_one_like_a_failure(fast: Loops) -> None:
    ends = {1: STOPPED, 2: GONE, 3: STOPPED, 4: BROKEN, 5: STOPPED, 6: BROKEN, 7: BROKEN}
    fast.driver.decide = lambda spec: Behaviour(outcome=ends[int(spec.labels["attempt"])], after_s=0.005)
    await fast.ready_job(maxRetries=2)
    async with fast.running(fast.runner()):
        execution = await fast.ended(await fast.execute())
    assert execution.status is ExecutionStatus.FAILED
    stopped, lost, failed = AttemptState.STOPPED, AttemptState.LOST, AttemptState.FAILED
    assert await states(fast, execution.id) == [stopped, lost, stopped, failed, stopped, failed]
    report = await verified(fast, execution.id)
    assert (execution.lost, report.lost, report.interrupted, report.starts) == (1, 1, 3, 6)
    assert (execution.retried, report.retries) == (2, 2)


async def test_cancel_now_stops_what_runs_and_kills_what_stays(loops: Loops) -> None:
    loops.driver.decide = lambda spec: Behaviour(obeys=spec.labels["task"] == "0")
    await loops.ready_job(maxConcurrentTasks=2, maxRetries=5)
    async with loops.running(loops.runner()):
        execution = await loops.execute(tasks=5)
        await runs(loops, execution, 2)
        asked = await cancel_execution(loops.context, ADMIN, "sums", execution, 0)
        assert (asked.status, asked.stop_grace_s) == (ExecutionStatus.CANCELLING, 0)
        ended = await loops.ended(execution)
    assert (ended.status, ended.cancelled, ended.failed) == (ExecutionStatus.CANCELLED, 5, 0)
    signals = [(await loops.attempts(execution, index))[0].outcome for index in (0, 1)]
    assert [(end.signal, end.stopped) if end else None for end in signals] == [(15, True), (9, True)]
    assert await states(loops, execution) == [AttemptState.STOPPED]
    assert (await verified(loops, execution)).starts == len(loops.driver.started) == 2


async def test_cancel_now_may_follow_a_plain_cancel_and_the_shortest_grace_counts(loops: Loops) -> None:
    loops.driver.decide = lambda _: Behaviour(obeys=False)
    await loops.ready_job()
    async with loops.running(loops.runner()):
        execution = await loops.execute()
        await runs(loops, execution, 1)
        for grace_s, stored in ((None, None), (600, 600), (600, 600), (0, 0), (60, 0)):
            found = await cancel_execution(loops.context, ADMIN, "sums", execution, grace_s)
            assert found.stop_grace_s == stored
        assert (await loops.ended(execution)).status is ExecutionStatus.CANCELLED
        again = await cancel_execution(loops.context, ADMIN, "sums", execution, 5)
        assert (again.status, again.stop_grace_s) == (ExecutionStatus.CANCELLED, 0)
    await verified(loops, execution)


async def test_a_server_killed_after_cancel_now_carries_it_out_at_its_next_start(loops: Loops) -> None:
    await loops.ready_job()
    async with loops.running(loops.runner()):
        execution = await loops.execute(tasks=2)
        await runs(loops, execution, 2)
    await cancel_execution(loops.context, ADMIN, "sums", execution, 3)
    assert len(loops.driver.living) == 2
    async with loops.running(loops.runner()):
        ended = await loops.ended(execution)
    assert (ended.status, ended.cancelled) == (ExecutionStatus.CANCELLED, 2)
    await verified(loops, execution)


async def test_an_attempt_that_was_claimed_before_a_cancel_and_not_started_never_starts(loops: Loops) -> None:
    await loops.ready_job()
    killer = Killer(1)
    async with loops.running(loops.runner(driver=killer.of(loops.driver))):
        execution = await loops.execute(tasks=2)
        await asyncio.wait_for(killer.dead.wait(), 20)
    assert (await loops.execution(execution)).running == 2
    await cancel_execution(loops.context, ADMIN, "sums", execution)
    async with loops.running(loops.runner()):
        ended = await loops.ended(execution)
    assert (ended.status, ended.cancelled) == (ExecutionStatus.CANCELLED, 2)
    assert loops.driver.started == []
    assert await states(loops, execution) == [AttemptState.STOPPED]
    assert (await loops.tasks(execution))[0].message == "its execution was cancelled before it started"
    await verified(loops, execution)


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_clock_that_jumps_neither_delays_a_retry_nor_ends_an_attempt(still: Loops, hours: int) -> None:
    def decide(spec: UnitSpec) -> Behaviour:
        fails = (spec.labels["task"], spec.labels["attempt"]) == ("0", "1")
        return Behaviour(outcome=BROKEN if fails else None)

    still.driver.decide = decide
    await still.ready_job(maxRetries=1)
    async with still.running(still.runner()):
        execution = await still.execute(tasks=2)

        async def waits() -> bool:
            first = (await still.tasks(execution))[0]
            return first.status is TaskStatus.PENDING and first.not_before is not None

        await still.until(waits)
        await runs(still, execution, 1)
        still.clock.move(hours * 3600)
        for spec in still.driver.living:
            token = spec.env["BL_EXECUTION_DATA_URL"].rpartition("/")[2]
            assert await read_task_arguments(still.context, token) == f'{{"n":{spec.labels["task"]}}}'
        units = await runs(still, execution, 2)
        assert sorted(units) == [attempt_unit(execution, 0, 2), attempt_unit(execution, 1, 1)]
        for unit in units:
            still.driver.finish(unit, DONE)
        ended = await still.ended(execution)
    assert (ended.status, ended.retried) == (ExecutionStatus.SUCCEEDED, 1)
    await verified(still, execution)


async def test_an_execution_id_that_a_dead_server_was_staging_is_free_at_once(loops: Loops) -> None:
    await loops.ready_job()
    write, writes = loops.store.write, 0

    async def dies(work: Callable[[Transaction], Any]) -> Any:
        nonlocal writes
        writes += 1
        if writes == 3:  # inserted, staged, and now to be made visible
            raise asyncio.CancelledError
        return await write(work)

    intent = ExecutionIntent(tasks=[{"n": 1}], execution_id="mine")
    loops.store.write = dies  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await create_execution(loops.context, ADMIN, "sums", intent)
    loops.store.write = write  # type: ignore[method-assign]
    staged = await loops.execution(ExecutionId("mine"))
    assert (staged.visible, staged.total) == (False, 1)
    other = replace(intent, tasks=[{"n": 2}, {"n": 3}])
    accepted = await create_execution(loops.context, ADMIN, "sums", other)
    assert (accepted.visible, accepted.total) == (True, 2)
    await verified(loops, accepted.id)


async def test_an_execution_that_is_being_staged_is_neither_swept_nor_taken_by_another(loops: Loops) -> None:
    await loops.ready_job()
    write, writes = loops.store.write, 0
    intent = ExecutionIntent(tasks=[{"n": 1}], execution_id="mine")

    async def pauses(work: Callable[[Transaction], Any]) -> Any:
        nonlocal writes
        writes += 1
        if writes == 3:
            loops.store.write = write  # type: ignore[method-assign]
            loops.clock.move(24 * 3600)
            await loops.garbage().collect()
            with pytest.raises(Conflict, match="being accepted now"):
                await create_execution(loops.context, ADMIN, "sums", intent)
        return await write(work)

    loops.store.write = pauses  # type: ignore[method-assign]
    accepted = await create_execution(loops.context, ADMIN, "sums", intent)
    assert (accepted.visible, accepted.total) == (True, 1)
    assert loops.context.staging == set()


async def test_running_tasks_of_a_dead_server_count_against_the_parallelism(loops: Loops) -> None:
    loops.slots = 20
    await loops.ready_job(maxConcurrentTasks=3)
    execution = await loops.execute(tasks=9)
    for count in range(1, 4):  # each server starts what fits, and dies
        async with loops.running(loops.runner()):
            await runs(loops, execution, 3)
            assert len(loops.driver.living) == 3, f"after {count} starts"
    async with loops.running(loops.runner()):
        await _end_those_that_may(loops, None, execution, None)
    assert (await verified(loops, execution)).most_at_once == 3


@pytest.mark.parametrize("grace_s", [None, 0], ids=["plain", "now"])
async def test_a_cancel_is_carried_out_whenever_the_runner_is_killed(fast: Loops, grace_s: int | None) -> None:
    """At each of its calls from the cancel on, before the call; another runner takes over."""
    fast.driver.decide = lambda spec: Behaviour(obeys=spec.labels["task"] == "0")
    await fast.ready_job(maxConcurrentTasks=2, maxRetries=1)
    for kill_at in range(1, 400):
        execution, killer = await fast.execute(tasks=4), Killer(kill_at)
        async with fast.running(fast.runner(killer.of(fast.store), killer.of(fast.driver))):
            await fast.until(partial(_dead_or_two_run, fast, killer))
            await cancel_execution(fast.context, ADMIN, "sums", execution, grace_s)
            await _end_those_that_may(fast, killer, execution, grace_s)
        survived = not killer.dead.is_set()
        async with fast.running(fast.runner()):
            await _end_those_that_may(fast, None, execution, grace_s)
        ended = await fast.execution(execution)
        assert (ended.status, ended.failed, fast.driver.living) == (ExecutionStatus.CANCELLED, 0, [])
        report = await verified(fast, execution)
        assert report.starts <= 2 and report.terminal == 4
        if survived:
            assert kill_at > 8
            return
    raise AssertionError("the runner does not end a cancelled execution by itself")


async def _dead_or_two_run(loops: Loops, killer: Killer) -> bool:
    return killer.dead.is_set() or len(loops.driver.living) == 2


async def _end_those_that_may(loops: Loops, killer: Killer | None, execution: ExecutionId, grace_s: int | None) -> None:
    """Until the execution or the runner has ended. After a plain cancel programs end well, by themselves."""

    async def look() -> bool:
        for spec in loops.driver.living if grace_s is None else ():
            loops.driver.finish(spec.id, DONE)
        ended = (await loops.execution(execution)).status.terminal
        return ended or (killer is not None and killer.dead.is_set())

    await loops.until(look)


async def test_a_unit_that_comes_to_be_after_it_was_asked_to_end_is_asked_again(loops: Loops) -> None:
    """The node answers a start so late that the runner has given up waiting, and then starts the program after all."""
    late: list[UnitSpec] = []
    stopped: list[UnitId] = []

    class SlowDriver(ScriptedDriver):
        async def start(self, spec: UnitSpec) -> UnitStatus:
            late.append(spec)
            raise DriverUnavailable

        async def stop(self, unit: UnitId, grace_s: float) -> None:
            stopped.append(unit)
            await super().stop(unit, grace_s)

        async def status(self, unit: UnitId) -> UnitStatus | None:
            found = await super().status(unit)
            if found is None and late:  # it has the order, and no process yet
                return UnitStatus(id=unit, kind=UnitKind.TASK, state=UnitState.STARTING)
            return found

    driver = SlowDriver(clock=loops.clock)
    await loops.ready_job()
    async with loops.running(loops.runner(driver=driver)):
        execution = await loops.execute()

        async def told(what: list[Any]) -> bool:
            return bool(what)

        await loops.until(partial(told, late))
        await cancel_execution(loops.context, ADMIN, "sums", execution, 0)
        await loops.until(partial(told, stopped))
        await ScriptedDriver.start(driver, late[0])
        ended = await loops.ended(execution)
    assert (ended.status, driver.living) == (ExecutionStatus.CANCELLED, [])
    await verified(loops, execution)
