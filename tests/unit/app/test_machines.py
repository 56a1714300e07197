"""Which regions are one machine, from what drivers tell."""

from homeport.app.machines import machine_steps, one_machine
from homeport.core.machine import machine, this_machine
from homeport.policy.inventory import Region


def region(name: str) -> Region:
    return Region(name=name, country=None, continent=None, flavors=(), driver=f"driver.{name}")


REGIONS = [region(name) for name in ("local", "docks", "far", "away")]
HERE, THERE = machine("here", "6.1.0", 2**34), machine("there", "6.1.0", 2**34)


def test_regions_are_one_machine_where_their_drivers_tell_the_same_of_it() -> None:
    facts = {"driver.local": {"machine": HERE}, "driver.docks": {"machine": HERE}, "driver.far": {"machine": THERE}}
    assert one_machine(REGIONS, facts) == [("local", "docks")]
    (step,) = machine_steps(REGIONS, facts)
    assert step.sentence.startswith("local and docks are the same machine")


def test_two_addresses_of_one_engine_are_one_machine_even_where_it_hides_its_name() -> None:
    facts = {"driver.docks": {"engine_id": "A", "machine": HERE}, "driver.away": {"engine_id": "A", "machine": None}}
    assert one_machine(REGIONS, facts) == [("docks", "away")]


def test_signs_that_meet_in_one_region_join_all_three() -> None:
    facts = {
        "driver.local": {"machine": HERE},
        "driver.away": {"engine_id": "A"},
        "driver.docks": {"machine": HERE, "engine_id": "A"},
    }
    assert one_machine(REGIONS, facts) == [("local", "docks", "away")]


def test_what_is_not_known_is_not_the_same() -> None:
    assert one_machine(REGIONS, {}) == []
    assert one_machine(REGIONS, {"driver.far": {"engine_id": None}, "driver.away": {"engine_id": ""}}) == []


def test_a_machine_is_known_again() -> None:
    assert this_machine() == this_machine() and "bytes of memory" in this_machine()
