"""Executions from their creation to their end: the real runner on a real store, the programs scripted."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from homeport.app.deployments import delete_workload
from homeport.app.executions import cancel_execution
from homeport.core.errors import Conflict
from homeport.core.ids import ExecutionId, Kind, UnitId
from homeport.core.units import Outcome, UnitSpec
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.store.contract import Transaction, attempt_unit
from homeport.testing.loops import ADMIN, Loops
from homeport.testing.scripted_driver import Behaviour, ScriptedDriver

DONE = Outcome(exit_code=0)
BROKEN = Outcome(exit_code=3)
LATE = Outcome(signal=15, timed_out=True)
MOMENT_S = 0.02


def soon(outcome: Outcome) -> Behaviour:
    return Behaviour(outcome=outcome, after_s=MOMENT_S)


def place(spec: UnitSpec) -> tuple[int, int]:
    """Task and attempt of a unit."""
    return int(spec.labels["task"]), int(spec.labels["attempt"])


async def pass_over(loops: Loops) -> None:
    """Return once the runner has looked at everything again: an execution of another job has come and gone."""
    if await loops.resource(Kind.JOB, "marker") is None:
        await loops.ready_job("marker")
    execution = await loops.execute("marker")
    unit = attempt_unit(execution, 0, 1)

    async def started() -> bool:
        return await loops.driver.status(unit) is not None

    await loops.until(started)
    loops.driver.finish(unit, DONE)
    await loops.ended(execution)


async def started_units(loops: Loops, execution: ExecutionId, count: int) -> list[UnitId]:
    """The execution's units once so many were started."""

    async def look() -> list[UnitId] | None:
        units = [spec.id for spec in loops.driver.started if spec.labels["execution"] == execution]
        return units if len(units) >= count else None

    return await loops.until(look)


async def test_every_task_runs_once_and_the_counts_add_up(loops: Loops) -> None:
    loops.driver.decide = lambda _: soon(DONE)
    await loops.ready_job()
    async with loops.running(loops.runner()):
        execution = await loops.ended(await loops.execute(tasks=30))
    assert execution.status is ExecutionStatus.SUCCEEDED
    assert (execution.total, execution.succeeded, execution.pending, execution.running) == (30, 30, 0, 0)
    assert sorted(place(spec) for spec in loops.driver.started) == [(index, 1) for index in range(30)]
    assert execution.started_at is not None and execution.completed_at is not None
    for task in await loops.tasks(execution.id):
        assert (task.status, task.attempts, task.lease) == (TaskStatus.SUCCEEDED, 1, None)


async def test_neither_parallelism_nor_slots_are_ever_exceeded_and_slots_are_shared(loops: Loops) -> None:
    peaks: Counter[str] = Counter()

    def decide(spec: UnitSpec) -> Behaviour:
        living = Counter(unit.labels["execution"] for unit in [*loops.driver.living, spec])
        for execution, count in [*living.items(), ("all", living.total())]:
            peaks[execution] = max(peaks[execution], count)
        return soon(DONE)

    loops.driver.decide = decide
    await loops.ready_job("wide", maxConcurrentTasks=100)
    await loops.ready_job("narrow", maxConcurrentTasks=2)
    async with loops.running(loops.runner()):
        wide = await loops.execute("wide", 60)
        narrow = await loops.execute("narrow", 6)
        await loops.ended(narrow)
        assert not (await loops.execution(wide)).status.terminal, "the younger one waited for all of the older"
        await loops.ended(wide)
    assert peaks["all"] == 4
    assert peaks[narrow] == 2


async def test_a_retry_starts_only_after_its_back_off(still: Loops) -> None:
    still.driver.decide = lambda spec: soon(BROKEN) if spec.labels["name"] == "sums" else Behaviour()
    await still.ready_job(maxRetries=3)
    async with still.running(still.runner()):
        execution = await still.execute()

        async def waits() -> timedelta | None:
            task = (await still.tasks(execution))[0]
            return task.not_before - still.clock.now() if task.not_before else None

        left = await still.until(waits)
        assert timedelta() < left <= timedelta(seconds=1)
        still.clock.move(left.total_seconds() - 0.001)
        await pass_over(still)
        assert await started_units(still, execution, 1) == [attempt_unit(execution, 0, 1)]
        still.clock.move(0.002)
        assert len(await started_units(still, execution, 2)) == 2


async def test_an_execution_that_waits_for_retries_leaves_its_places_to_others(still: Loops) -> None:
    still.driver.decide = lambda spec: soon(BROKEN) if spec.labels["name"] == "broken" else Behaviour()
    await still.ready_job("broken", maxRetries=3)
    await still.ready_job("sums")
    async with still.running(still.runner()):
        waiting = await still.execute("broken", 20)
        await started_units(still, waiting, 20)

        async def all_wait() -> bool:
            return (await still.execution(waiting)).retried == 20

        await still.until(all_wait)
        await started_units(still, await still.execute("sums", 20), 4)
    assert len(still.driver.living) == 4


async def test_retries_never_exceed_their_number_and_a_task_without_any_left_has_failed(fast: Loops) -> None:
    fast.driver.decide = lambda spec: soon(BROKEN if spec.labels["task"] == "1" else DONE)
    await fast.ready_job(maxRetries=2)
    async with fast.running(fast.runner()):
        execution = await fast.ended(await fast.execute(tasks=3))
    assert execution.status is ExecutionStatus.FAILED
    assert (execution.succeeded, execution.failed, execution.retried) == (2, 1, 2)
    assert sorted(place(spec) for spec in fast.driver.started) == [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1)]
    assert (await fast.tasks(execution.id))[1].message == "exit code 3"


async def test_an_attempt_that_was_lost_counts_as_one(fast: Loops) -> None:
    fast.driver.decide = lambda _: soon(Outcome(lost=True, reason="the node was killed"))
    await fast.ready_job(maxRetries=1)
    async with fast.running(fast.runner()):
        execution = await fast.ended(await fast.execute())
    assert execution.status is ExecutionStatus.FAILED
    assert [attempt.state for attempt in await fast.attempts(execution.id)] == [AttemptState.LOST] * 2


async def test_an_attempt_whose_unit_nobody_knows_after_a_restart_is_lost_and_tried_again(fast: Loops) -> None:
    await fast.ready_job(maxRetries=1)
    async with fast.running(fast.runner()):
        execution = await fast.execute()
        await started_units(fast, execution, 1)

        async def runs() -> bool:
            return (await fast.attempts(execution))[0].state is AttemptState.RUNNING

        await fast.until(runs)
    other = ScriptedDriver(lambda _: soon(DONE))
    async with fast.running(fast.runner(driver=other)):
        ended = await fast.ended(execution)
    assert ended.status is ExecutionStatus.SUCCEEDED
    states = [attempt.state for attempt in await fast.attempts(execution)]
    assert states == [AttemptState.LOST, AttemptState.SUCCEEDED]


async def test_a_runner_that_finds_a_unit_that_ended_meanwhile_takes_its_outcome(loops: Loops) -> None:
    await loops.ready_job()
    async with loops.running(loops.runner()):
        execution = await loops.execute(tasks=2)
        units = await started_units(loops, execution, 2)
    loops.driver.finish(units[0], DONE)
    loops.driver.finish(units[1], BROKEN)
    async with loops.running(loops.runner()):
        ended = await loops.ended(execution)
    assert (ended.succeeded, ended.failed) == (1, 1)
    assert len(loops.driver.started) == 2


async def test_a_driver_that_is_away_delays_and_loses_nothing(fast: Loops) -> None:
    fast.driver.decide = lambda _: Behaviour()
    fast.driver.available = False
    await fast.ready_job()
    async with fast.running(fast.runner()):
        execution = await fast.execute(tasks=6)

        async def claimed() -> bool:
            return (await fast.execution(execution)).running == 4

        await fast.until(claimed)
        assert fast.driver.started == []
        fast.driver.available = True
        for unit in await started_units(fast, execution, 4):
            fast.driver.available = False
            fast.driver.finish(unit, DONE)
        assert (await fast.execution(execution)).succeeded == 0
        fast.driver.available = True
        for unit in await started_units(fast, execution, 6):
            fast.driver.finish(unit, DONE)
        ended = await fast.ended(execution)
    assert (ended.status, ended.succeeded, ended.retried) == (ExecutionStatus.SUCCEEDED, 6, 0)
    assert len(fast.driver.started) == 6


@pytest.mark.parametrize(
    ("second", "status"), [(LATE, ExecutionStatus.TIMEOUT), (BROKEN, ExecutionStatus.FAILED)], ids=["late", "broken"]
)
async def test_an_execution_has_timed_out_only_if_every_failure_was_a_timeout(
    loops: Loops, second: Outcome, status: ExecutionStatus
) -> None:
    ends = {"0": LATE, "1": second, "2": DONE}
    loops.driver.decide = lambda spec: soon(ends[spec.labels["task"]])
    await loops.ready_job()
    async with loops.running(loops.runner()):
        assert (await loops.ended(await loops.execute(tasks=3))).status is status


async def test_a_task_is_given_the_time_of_its_job_and_ended_after_it(loops: Loops) -> None:
    await loops.ready_job(timeout=1)
    async with loops.running(loops.runner()):
        execution = await loops.ended(await loops.execute())
    assert execution.status is ExecutionStatus.TIMEOUT
    assert (await loops.tasks(execution.id))[0].message == "timed out after 1 s: signal 15 (SIGTERM)"


async def test_a_cancelled_execution_starts_nothing_more_and_ends_with_what_runs(loops: Loops) -> None:
    await loops.ready_job(maxConcurrentTasks=2, maxRetries=5)
    async with loops.running(loops.runner()):
        execution = await loops.execute(tasks=10)
        units = await started_units(loops, execution, 2)
        cancelling = await cancel_execution(loops.context, ADMIN, "sums", execution)
        assert (cancelling.status, cancelling.cancelled, cancelling.running) == (ExecutionStatus.CANCELLING, 8, 2)
        loops.driver.finish(units[0], DONE)
        loops.driver.finish(units[1], BROKEN)
        ended = await loops.ended(execution)
    assert (ended.status, ended.succeeded, ended.cancelled) == (ExecutionStatus.CANCELLED, 1, 9)
    assert len(loops.driver.started) == 2


async def test_deleting_a_job_cancels_its_executions_and_then_removes_it(loops: Loops) -> None:
    await loops.ready_job(maxConcurrentTasks=1)
    async with loops.running(loops.runner(), loops.rollouts()):
        execution = await loops.execute(tasks=3)
        units = await started_units(loops, execution, 1)
        job = await loops.resource(Kind.JOB, "sums")
        assert job is not None
        await delete_workload(loops.context, ADMIN, Kind.JOB, "sums")

        async def cancelling() -> bool:
            return (await loops.execution(execution)).status is ExecutionStatus.CANCELLING

        await loops.until(cancelling)
        assert await loops.resource(Kind.JOB, "sums") is not None, "something of it runs"
        loops.driver.finish(units[0], DONE)
        assert (await loops.ended(execution)).status is ExecutionStatus.CANCELLED

        async def gone() -> bool:
            return await loops.resource(Kind.JOB, "sums") is None

        await loops.until(gone)
    assert await loops.store.read(lambda tx: tx.identities.account_of(job.uid)) is None
    assert (await loops.execution(execution)).succeeded == 1, "history outlives its job"


async def test_a_task_that_cannot_be_started_fails_with_the_reason(loops: Loops) -> None:
    await loops.ready_job()
    accepted = await loops.execute()
    (loops.context.data.bundles / "bundle-sums" / "bundle.json").unlink()
    async with loops.running(loops.runner()):
        execution = await loops.ended(accepted)
    assert execution.status is ExecutionStatus.FAILED
    assert (await loops.tasks(accepted))[0].message.startswith("could not start: An internal error")
    assert loops.driver.started == []


async def test_an_execution_whose_job_went_while_it_was_staged_is_refused_and_not_lost_later(loops: Loops) -> None:
    await loops.ready_job()
    job = await loops.resource(Kind.JOB, "sums")
    assert job is not None
    write = loops.store.write
    writes = 0

    async def late_write(work: Callable[[Transaction], Any]) -> Any:
        nonlocal writes
        writes += 1
        if writes == 3:  # inserted, staged, and now to be made visible
            await write(lambda tx: tx.resources.delete(job.uid))
        return await write(work)

    loops.store.write = late_write  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="is being deleted"):
        await loops.execute()
    assert await loops.store.read(lambda tx: tx.executions.unfinished()) == []


async def test_two_requests_of_one_id_at_the_same_time_get_one_execution(loops: Loops) -> None:
    await loops.ready_job()
    both = await asyncio.gather(*(loops.execute(tasks=2, request_id="req-same") for _ in range(2)))
    assert both[0] == both[1]
