"""Placement takes the first allowed place, or refuses in words that a person can act on."""

import pytest

from homeport.core.errors import Denied, Invalid
from homeport.core.ids import Kind
from homeport.placement.plan import Plan, Refusal, place
from homeport.policy.decision import decide
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import MissingPolicy, PolicyRule

X86, T4 = Flavor("x86", "cpu"), Flavor("t4", "gpu")
LOCAL = Region("local", None, None, (X86,), "process")
PARIS = Region("paris", "FR", "EU", (X86,), "process")
LAGOS = Region("lagos", "NG", "AF", (T4,), "process")
EU = PolicyRule.from_spec("eu-only", {"type": "location", "locations": [{"name": "eu", "type": "continent"}]})
US = PolicyRule.from_spec("us-only", {"type": "location", "locations": [{"name": "US", "type": "country"}]})
GPU = PolicyRule.from_spec("gpu", {"type": "flavor", "flavors": [{"name": "t4", "type": "gpu"}]})


def placed(
    *policies: PolicyRule | MissingPolicy,
    inventory: tuple[Region, ...] = (LOCAL,),
    pin: str | None = None,
    asked: tuple[Flavor, ...] = (),
) -> Plan | Refusal:
    return place(decide(Kind.AGENT, policies, inventory), inventory, pin=pin, flavors_asked=asked)


def refused(*policies: PolicyRule | MissingPolicy, inventory: tuple[Region, ...] = (LOCAL,), pin: str = "") -> Refusal:
    found = placed(*policies, inventory=inventory, pin=pin)
    assert isinstance(found, Refusal)
    return found


def test_the_first_region_and_flavor_that_are_allowed_are_taken() -> None:
    plan = placed(EU, inventory=(LOCAL, PARIS, LAGOS))
    assert isinstance(plan, Plan)
    assert (plan.region, plan.flavor, plan.driver) == ("paris", X86, "process")
    assert plan.reasons[-1].sentence == "Placed in region paris on flavor x86/cpu: the first that is allowed."


def test_a_pin_is_followed_and_auto_is_none() -> None:
    pinned = placed(inventory=(LOCAL, PARIS), pin="PARIS")
    anywhere = placed(inventory=(LOCAL, PARIS), pin="auto")
    assert isinstance(pinned, Plan) and pinned.region == "paris"
    assert isinstance(anywhere, Plan) and anywhere.region == "local"


def test_an_unknown_region_is_a_mistake_of_the_request() -> None:
    with pytest.raises(Invalid) as caught:
        placed(pin="us-pdx-1")
    assert (
        caught.value.message == "spec.region: must be a region of this installation: local, or auto (got 'us-pdx-1')."
    )
    line = '[regions.local]\naliases = ["us-pdx-1"]'
    assert caught.value.hint == f"To let us-pdx-1 mean local, write in DATA/config.toml, and start again:\n{line}"


def test_an_unknown_region_may_be_meant_to_be_another_than_this_machine() -> None:
    with pytest.raises(Invalid) as caught:
        placed(inventory=(PARIS,), pin="us-pdx-1")
    assert caught.value.hint.startswith("To let us-pdx-1 mean paris, ") and "[regions.paris]" in caught.value.hint


def test_an_unknown_flavor_is_a_mistake_of_the_request() -> None:
    with pytest.raises(Invalid) as caught:
        placed(asked=(T4,))
    assert caught.value.field == "spec.flavors[0]"


def test_an_unknown_place_is_refused_with_the_configuration_to_add() -> None:
    refusal = refused(EU)
    assert refusal.policies == ("eu-only",)
    assert refusal.message == (
        'Policy "eu-only" allows only continent EU; this installation has: '
        "local (continent unknown, country unknown; flavors x86/cpu)."
    )
    assert refusal.hint == (
        "If this is where local stands, add to DATA/config.toml and start Homeport again:\n"
        '[regions.local]\ncontinent = "EU"\nOtherwise change the policy or detach it.'
    )


def test_several_location_policies_are_named_together() -> None:
    refusal = refused(EU, US)
    assert refusal.policies == ("eu-only", "us-only")
    assert 'Policies "eu-only" and "us-only" together allow only continent EU or country US' in refusal.message
    assert '[regions.local]\ncontinent = "EU"\ncountry = "US"' in refusal.hint


def test_a_known_place_elsewhere_is_refused_without_a_configuration_line() -> None:
    refusal = refused(US, inventory=(PARIS,))
    assert "paris (continent EU, country FR; flavors x86/cpu)" in refusal.message
    assert refusal.hint == 'Change policy "us-only" or detach it: there is no other region.'


def test_a_pin_into_a_forbidden_region_names_the_allowed_one() -> None:
    refusal = refused(EU, inventory=(PARIS, LAGOS), pin="lagos")
    assert "spec.region asks for lagos (continent AF, country NG; flavors t4/gpu)" in refusal.message
    assert refusal.hint == "Set spec.region to paris, or leave it out."


def test_a_flavor_that_does_not_exist_is_refused_with_what_exists() -> None:
    refusal = refused(GPU)
    assert refusal.policies == ("gpu",)
    assert refusal.message.startswith('Policy "gpu" allows only flavor t4/gpu; this installation has: local (')


def test_a_place_and_a_flavor_that_no_region_has_both_name_both_policies() -> None:
    refusal = refused(EU, GPU, inventory=(PARIS, LAGOS))
    assert refusal.policies == ("eu-only", "gpu")
    assert "no region is both" in refusal.message


def test_a_missing_policy_is_refused_by_name() -> None:
    refusal = refused(MissingPolicy("gone"))
    assert refusal.message == 'Policy "gone" does not exist: a missing policy refuses everything.'
    assert refusal.hint == "Create it or take it out of spec.policies."
    refusal = refused(MissingPolicy("gone", "ada (acc-1) on 2026-01-01T00:00:00Z"), MissingPolicy("never"))
    assert refusal.message == (
        'Policies "gone" (deleted by ada (acc-1) on 2026-01-01T00:00:00Z) and "never" do not exist: '
        "a missing policy refuses everything."
    )


def test_a_flavor_asked_for_that_the_policies_exclude_is_refused() -> None:
    both = Region("both", "FR", "EU", (X86, T4), "process")
    refusal = placed(GPU, inventory=(both,), asked=(X86,))
    assert isinstance(refusal, Refusal)
    assert refusal.message.startswith("Flavor x86/cpu was asked for, and only t4/gpu is available here.")


def test_an_empty_installation_refuses() -> None:
    assert "no region" in refused(inventory=()).message
    bare = Region("bare", None, None, (), "process")
    assert "No flavor" in refused(inventory=(bare,)).message


def test_a_refusal_is_denied_with_its_hint_and_keeps_the_steps_for_the_log() -> None:
    error = refused(EU).as_error()
    assert isinstance(error, Denied)
    assert error.message in error.for_caller() and error.hint in error.for_caller()
    assert "Region local is refused" in error.detail


def test_the_same_question_has_the_same_answer() -> None:
    assert placed(EU, US, inventory=(LOCAL, PARIS, LAGOS)) == placed(EU, US, inventory=(LOCAL, PARIS, LAGOS))
