"""An alias is a name in a request. No policy looks at it: what counts is what the operator says of the place."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.placement.plan import Plan, Refusal, place
from homeport.policy.decision import decide
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import Place, PlaceType, PolicyRule, PolicyType

X86 = Flavor("x86", "cpu")
BERLIN = Region("local", "DE", "EU", (X86,), "process", location="Berlin", aliases=("us-pdx-1",))
UNKNOWN = Region("local", None, None, (X86,), "process", aliases=("us-pdx-1", "us", "na"))


def only(kind: PlaceType, name: str) -> PolicyRule:
    return PolicyRule(name="only", type=PolicyType.LOCATION, places=(Place(type=kind, name=name),))


def placed(region: Region, pin: str | None, *policies: PolicyRule) -> Plan | Refusal:
    return place(decide(Kind.AGENT, policies, [region]), [region], pin=pin)


def test_an_alias_pins_to_the_machine_that_has_it() -> None:
    for pin in ("us-pdx-1", "US-PDX-1", "local", "auto", "", None):
        plan = placed(BERLIN, pin)
        assert isinstance(plan, Plan) and plan.region == "local"


def test_an_alias_that_sounds_american_is_judged_by_where_the_machine_stands() -> None:
    for kind, name in ((PlaceType.COUNTRY, "US"), (PlaceType.CONTINENT, "NA"), (PlaceType.LOCATION, "us-pdx-1")):
        for pin in ("us-pdx-1", None):
            assert isinstance(placed(BERLIN, pin, only(kind, name)), Refusal)
    for kind, name in ((PlaceType.COUNTRY, "de"), (PlaceType.CONTINENT, "eu"), (PlaceType.LOCATION, "berlin")):
        assert isinstance(placed(BERLIN, "us-pdx-1", only(kind, name)), Plan)


@given(
    kind=st.sampled_from(PlaceType),
    name=st.sampled_from(["us", "na", "us-pdx-1", "DE", "EU", "Berlin", "local"]),
    aliases=st.lists(st.sampled_from(["us", "na", "us-pdx-1", "de", "eu", "berlin"]), unique=True),
    region=st.sampled_from([BERLIN, UNKNOWN]),
)
def test_no_alias_changes_any_decision(kind: PlaceType, name: str, aliases: list[str], region: Region) -> None:
    def outcome(named: Region) -> tuple[bool, tuple[str, ...]]:
        (verdict,) = decide(Kind.AGENT, [only(kind, name)], [named]).regions
        return verdict.in_place, verdict.unknown

    assert outcome(replace(region, aliases=tuple(aliases))) == outcome(replace(region, aliases=()))


def test_a_refusal_of_a_location_prints_the_line_where_the_operator_has_said_none() -> None:
    refusal = placed(UNKNOWN, None, only(PlaceType.LOCATION, 'Port"land'))
    assert isinstance(refusal, Refusal)
    assert '[regions.local]\nlocation = "Port\\"land"\n' in refusal.hint


def test_the_line_to_add_keeps_the_aliases_that_are_there_and_is_only_for_what_can_be_one() -> None:
    def hint(pin: str) -> str:
        try:
            placed(BERLIN, pin)
        except Invalid as refused:
            return refused.hint
        raise AssertionError(f"{pin} was not refused")

    assert hint("EU-FRA-1").endswith('[regions.local]\naliases = ["us-pdx-1", "eu-fra-1"]')
    assert hint('x"]\nevil = "') == ""
