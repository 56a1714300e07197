"""The schedule of faults: the same for the same seed, and of every kind."""

import pytest

from homeport.testing.chaos.schedule import FaultKind, draw
from homeport.testing.system import COMPONENTS


def test_a_seed_gives_the_same_schedule_and_another_gives_another() -> None:
    assert draw(7, 600, FaultKind) == draw(7, 600, FaultKind)
    assert draw(7, 600, FaultKind) != draw(8, 600, FaultKind)


@pytest.mark.parametrize("seed", range(20))
def test_a_short_run_has_a_fault_of_every_kind_and_every_component_dies(seed: int) -> None:
    faults = draw(seed, 40, FaultKind)
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert {fault.target for fault in faults if fault.kind is FaultKind.KILL} == set(COMPONENTS)
    moments = [fault.at_s for fault in faults]
    assert moments == sorted(moments) and moments[0] > 0 and moments[-1] < 40


def test_what_a_machine_does_not_allow_is_left_out() -> None:
    faults = draw(7, 600, set(FaultKind) - {FaultKind.DISK})
    assert faults and all(fault.kind is not FaultKind.DISK for fault in faults)
