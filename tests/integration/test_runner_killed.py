"""The runner is killed at every call that it makes of the store and of the driver, before and after; another one takes
over. Checked each time: nothing finished runs again, nothing is lost, everything ends once."""

import asyncio
from collections import Counter

import pytest

from homeport.core.ids import ExecutionId
from homeport.core.units import Outcome, UnitSpec
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.runner.verification import examine_execution
from homeport.testing.loops import WAIT_S, Killer, Loops
from homeport.testing.scripted_driver import Behaviour

TASKS = 3  # one succeeds at once, one with its second attempt, one never
ENDS = {
    0: [AttemptState.SUCCEEDED],
    1: [AttemptState.FAILED, AttemptState.SUCCEEDED],
    2: [AttemptState.FAILED, AttemptState.FAILED],
}
KILLS_AT_LEAST = 20  # an execution takes more calls than this; fewer would mean that the killer does not work
KILLS_AT_MOST = 400


def scripted(spec: UnitSpec) -> Behaviour:
    end = ENDS[int(spec.labels["task"])][int(spec.labels["attempt"]) - 1]
    return Behaviour(outcome=Outcome(exit_code=0 if end is AttemptState.SUCCEEDED else 3))


@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "after-the-call"])
async def test_a_runner_killed_anywhere_repeats_nothing_and_loses_nothing(fast: Loops, after: bool) -> None:
    fast.driver.decide = scripted
    await fast.ready_job(maxRetries=1)
    for kill_at in range(1, KILLS_AT_MOST):
        execution, killer = await fast.execute(tasks=TASKS), Killer(kill_at, after=after)
        async with fast.running(fast.runner(killer.of(fast.store), killer.of(fast.driver))):
            await _dead_or_ended(fast, killer, execution)
        survived = not killer.dead.is_set()
        async with fast.running(fast.runner()):
            await fast.ended(execution)
        await _check(fast, execution)
        if survived:
            assert kill_at > KILLS_AT_LEAST
            return
    raise AssertionError("the runner does not end an execution by itself")


async def _dead_or_ended(loops: Loops, killer: Killer, execution: ExecutionId) -> None:
    async def look() -> bool:
        return killer.dead.is_set() or (await loops.execution(execution)).status.terminal

    await loops.until(look)


async def _check(loops: Loops, execution_id: ExecutionId) -> None:
    execution = await loops.execution(execution_id)
    assert execution.status is ExecutionStatus.FAILED
    assert (execution.total, execution.succeeded, execution.failed, execution.retried) == (TASKS, 2, 1, 2)
    assert execution.pending == execution.running == execution.cancelled == 0
    starts = Counter(spec.id for spec in loops.driver.started if spec.labels["execution"] == execution_id)
    assert set(starts.values()) == {1}, "a unit was started twice"
    units = set()
    for task in await loops.tasks(execution_id):
        attempts = await loops.attempts(execution_id, task.index)
        assert [attempt.state for attempt in attempts] == ENDS[task.index]
        assert task.attempts == len(attempts)
        assert task.status is (TaskStatus.FAILED if task.index == 2 else TaskStatus.SUCCEEDED)
        units |= {attempt.unit for attempt in attempts}
    assert units == set(starts)
    report = await loops.store.read(lambda tx: examine_execution(tx, execution))
    assert (report.violations, report.complete, report.starts) == ([], True, 5)


async def test_a_runner_stopped_again_and_again_in_the_middle_ends_every_task_once(fast: Loops) -> None:
    fast.driver.decide = lambda _: Behaviour(outcome=Outcome(exit_code=0), after_s=0.005)
    await fast.ready_job(maxConcurrentTasks=4)
    execution = await fast.execute(tasks=40)
    async with asyncio.timeout(WAIT_S):
        while not (await fast.execution(execution)).status.terminal:
            killer = Killer(37)
            async with fast.running(fast.runner(killer.of(fast.store), killer.of(fast.driver))):
                await _dead_or_ended(fast, killer, execution)
    ended = await fast.execution(execution)
    assert (ended.status, ended.succeeded) == (ExecutionStatus.SUCCEEDED, 40)
    assert len(fast.driver.started) == 40
