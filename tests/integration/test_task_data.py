"""The address at which a task reads its arguments: good as long as its attempt is open, whatever the clock says."""

import pytest

from homeport.app.executions import read_task_arguments
from homeport.core.errors import NotFound
from homeport.core.units import Outcome
from homeport.store.contract import attempt_unit
from homeport.testing.loops import Loops

DAY_S = 86_400.0


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
async def test_arguments_are_readable_while_the_attempt_is_open_whatever_the_clock_says(
    loops: Loops, step_s: float
) -> None:
    await loops.ready_job("worker")
    execution = await loops.execute("worker")
    unit = attempt_unit(execution, 0, 1)

    async def started() -> str | None:
        found = [spec.env["BL_EXECUTION_DATA_URL"] for spec in loops.driver.started if spec.id == unit]
        return found[0] if found else None

    async with loops.running(loops.runner()):
        token = (await loops.until(started)).rpartition("/")[2]
        loops.clock.move(step_s)
        assert await read_task_arguments(loops.context, token) == '{"n":0}'
        loops.driver.finish(unit, Outcome(exit_code=0))
        await loops.ended(execution)
    with pytest.raises(NotFound):
        await read_task_arguments(loops.context, token)
