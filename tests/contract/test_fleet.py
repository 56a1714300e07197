"""The drivers of several regions as one: a unit is frozen, thawed and signalled where it is."""

import signal

import pytest

from homeport.core.errors import DriverUnavailable, NotFound
from homeport.core.ids import UnitId
from homeport.drivers.fleet import Fleet
from homeport.testing.driver_suite import RUN, unit_spec
from homeport.testing.scripted_driver import ScriptedDriver


async def test_a_unit_is_frozen_thawed_and_signalled_by_the_driver_that_has_it() -> None:
    here, there = ScriptedDriver(name="here"), ScriptedDriver(name="there")
    spec = unit_spec(RUN, region="there")
    await Fleet({"here": here, "there": there}).start(spec)
    fleet = Fleet({"here": here, "there": there})  # as after a restart: it does not know yet who has what
    await fleet.freeze(spec.id)
    assert [unit.frozen for unit in await there.units()] == [True]
    await fleet.thaw(spec.id)
    assert [unit.frozen for unit in await fleet.units()] == [False]
    await fleet.signal(spec.id, signal.SIGTERM)
    status = await there.status(spec.id)
    assert status is not None and status.outcome is not None and status.outcome.signal == signal.SIGTERM


async def test_a_unit_that_nobody_has_is_not_found_unless_who_may_have_it_is_away() -> None:
    here, there = ScriptedDriver(name="here"), ScriptedDriver(name="there")
    fleet = Fleet({"here": here, "there": there})
    with pytest.raises(NotFound):
        await fleet.freeze(UnitId("unit-none"))
    there.available = False
    with pytest.raises(DriverUnavailable):
        await fleet.thaw(UnitId("unit-none"))


async def test_a_unit_that_its_driver_refused_to_start_waits_for_no_other_driver() -> None:
    here, there = ScriptedDriver(name="here"), ScriptedDriver(name="there")
    fleet = Fleet({"here": here, "there": there})
    there.available = False
    refused = unit_spec(RUN, region="here")
    here.available = False
    with pytest.raises(DriverUnavailable):
        await fleet.start(refused)
    here.available = True
    assert await fleet.units() == []
    assert await fleet.status(refused.id) is None
    await fleet.stop(refused.id, 0)
    await fleet.forget(refused.id)
    with pytest.raises(DriverUnavailable):
        await fleet.status(refused.id)
