"""Garbage that is collected while what it looks at changes."""

from typing import Any

import pytest

from homeport.core.units import Outcome, UnitStatus
from homeport.testing.loops import Loops


async def test_an_attempt_that_ends_while_garbage_is_collected_is_no_stray(
    loops: Loops, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    await loops.ready_job()
    async with loops.running(loops.runner()):
        execution = await loops.execute()

        async def started() -> bool:
            return bool(loops.driver.started)

        await loops.until(started)
        unit = loops.driver.started[0].id
        units = loops.driver.units

        async def units_then_end() -> list[UnitStatus]:
            """It lives when the units are listed, and neither it nor its row does when the rows are read."""
            found = await units()
            loops.driver.finish(unit, Outcome(exit_code=0))
            await loops.ended(execution)
            return found

        monkeypatch.setattr(loops.driver, "units", units_then_end)
        await loops.garbage().collect()
    assert "belongs to no" not in caplog.text
