"""Tasks on several drivers of which one is away: the others go on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.app.executions import cancel_execution
from homeport.core.units import Outcome, UnitSpec
from homeport.drivers.contract import Driver
from homeport.jobs.states import ExecutionStatus
from homeport.runner.dispatch import Runner
from homeport.runner.launch import TaskLauncher
from homeport.store.records import Task
from homeport.testing.loops import ADMIN, Loops, installation
from homeport.testing.scripted_driver import Behaviour, ScriptedDriver

SLOTS = 3


@pytest.fixture
async def loops(tmp_path: Path) -> AsyncIterator[Loops]:
    async with installation(tmp_path, slots=SLOTS) as made:
        yield made


@pytest.fixture
def far() -> ScriptedDriver:
    def decide(spec: UnitSpec) -> Behaviour:
        return Behaviour(outcome=Outcome(exit_code=0), after_s=0.02)

    return ScriptedDriver(name="far", decide=decide)


class Launcher(TaskLauncher):
    """The job `sailing` runs far away, everything else here."""

    async def attempt(self, task: Task, number: int) -> tuple[Driver, UnitSpec]:
        _, spec = await super().attempt(task, number)
        return self._drivers["far" if spec.labels["name"] == "sailing" else "local"], spec


def runner(loops: Loops, far: ScriptedDriver) -> Runner:
    drivers = {"local": loops.driver, "far": far}
    context = loops.context
    launcher = Launcher(loops.store, loops.clock, context.keys, context.data.bundles, loops.platform(), drivers)
    wakeup = context.signals.runner
    return Runner(loops.store, loops.clock, [*drivers.values()], launcher, slots=SLOTS, wakeup=wakeup)


async def test_tasks_for_a_driver_that_is_away_take_no_room_from_others_and_run_when_it_is_back(
    loops: Loops, far: ScriptedDriver
) -> None:
    loops.driver.decide = far.decide
    await loops.ready_job("sailing")
    await loops.ready_job("walking")
    far.available = False
    async with loops.running(runner(loops, far)):
        waiting = await loops.execute("sailing", tasks=2 * SLOTS)
        for _ in range(3):
            assert (await loops.ended(await loops.execute("walking", tasks=SLOTS))).status is ExecutionStatus.SUCCEEDED
        assert far.started == [] and (await loops.execution(waiting)).succeeded == 0
        far.available = True
        ended = await loops.ended(waiting)
    assert ended.status is ExecutionStatus.SUCCEEDED and ended.retried == 0 and len(far.started) == 2 * SLOTS


async def test_more_tasks_than_there_is_room_for_never_run_once_a_driver_is_back(
    loops: Loops, far: ScriptedDriver
) -> None:
    far.decide = loops.driver.decide = lambda _: Behaviour()
    await loops.ready_job("sailing")
    await loops.ready_job("walking")
    far.available = False
    async with loops.running(runner(loops, far)):
        waiting, walking = await loops.execute("sailing", tasks=SLOTS), await loops.execute("walking", tasks=SLOTS)

        async def walks() -> bool:
            return len(loops.driver.living) == SLOTS

        await loops.until(walks)
        far.available = True
        for unit in loops.driver.living:
            assert len(loops.driver.living) + len(far.living) <= SLOTS
            count = len(far.started)
            loops.driver.finish(unit.id, Outcome(exit_code=0))

            async def follows(count: int = count) -> bool:
                return len(far.started) > count

            await loops.until(follows)
        for unit in far.living:
            far.finish(unit.id, Outcome(exit_code=0))
        for execution in (waiting, walking):
            assert (await loops.ended(execution)).succeeded == SLOTS


async def test_a_cancellation_reaches_what_runs_though_another_driver_is_away(
    loops: Loops, far: ScriptedDriver
) -> None:
    loops.driver.decide = lambda _: Behaviour()
    await loops.ready_job("walking")
    async with loops.running(runner(loops, far)):
        execution = await loops.execute("walking")

        async def walks() -> bool:
            return len(loops.driver.living) == 1

        await loops.until(walks)
        far.available = False
        await cancel_execution(loops.context, ADMIN, "walking", execution, stop_grace_s=0)
        assert (await loops.ended(execution)).status is ExecutionStatus.CANCELLED
