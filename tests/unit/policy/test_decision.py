"""Union inside a type, intersection across types, and nothing opens by accident."""

from hypothesis import given
from hypothesis import strategies as st

from homeport.core.ids import Kind
from homeport.policy.decision import Decision, Verdict, decide
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import FlavorPattern, MissingPolicy, Place, PlaceType, PolicyRule, PolicyType

X86, T4 = Flavor("x86", "cpu"), Flavor("t4", "gpu")
LOCAL = Region("local", None, None, (X86,), "process")
PARIS = Region("paris", "fr", "eu", (X86, T4), "process")
OREGON = Region("oregon", "US", "NA", (X86,), "process")
LAGOS = Region("lagos", "NG", "AF", (T4,), "process")
WORLD = (LOCAL, PARIS, OREGON, LAGOS)


def places(name: str, *options: tuple[PlaceType, str], kinds: frozenset[str] = frozenset()) -> PolicyRule:
    found = tuple(Place(type=kind, name=text) for kind, text in options)
    return PolicyRule(name=name, type=PolicyType.LOCATION, places=found, resource_types=kinds)


def flavors(name: str, *options: tuple[str | None, str | None]) -> PolicyRule:
    found = tuple(FlavorPattern(name=code, type=kind) for code, kind in options)
    return PolicyRule(name=name, type=PolicyType.FLAVOR, flavors=found)


def allowed(decision: Decision) -> dict[str, tuple[Flavor, ...]]:
    return {region.name: offered for region, offered in decision.allowed}


US = places("us", (PlaceType.COUNTRY, "us"))
NA_OR_EU = places("na-eu", (PlaceType.CONTINENT, "NA"), (PlaceType.CONTINENT, "EU"))
ONLY_T4 = flavors("t4", ("T4", "GPU"))


def test_without_policies_everything_is_allowed() -> None:
    assert allowed(decide(Kind.AGENT, [], WORLD)) == {region.name: region.flavors for region in WORLD}


def test_policies_of_one_type_act_as_a_union() -> None:
    assert allowed(decide(Kind.AGENT, [US, NA_OR_EU], WORLD)) == {"paris": (X86, T4), "oregon": (X86,)}


def test_policies_of_two_types_act_as_an_intersection() -> None:
    assert allowed(decide(Kind.AGENT, [NA_OR_EU, ONLY_T4], WORLD)) == {"paris": (T4,)}
    assert allowed(decide(Kind.AGENT, [US, ONLY_T4], WORLD)) == {}


def test_comparison_ignores_case() -> None:
    named = places("named", (PlaceType.LOCATION, "PARIS"))
    assert allowed(decide(Kind.AGENT, [named], WORLD)) == {"paris": (X86, T4)}


def test_a_flavor_pattern_compares_what_it_gives() -> None:
    assert allowed(decide(Kind.AGENT, [flavors("any-gpu", (None, "gpu"))], WORLD)) == {"paris": (T4,), "lagos": (T4,)}
    assert allowed(decide(Kind.AGENT, [flavors("odd", ("t4", "cpu"))], WORLD)) == {}


def test_an_unknown_place_refuses_with_the_lines_to_add() -> None:
    decision = decide(Kind.AGENT, [places("eu", (PlaceType.CONTINENT, "EU"))], [LOCAL])
    refusal = next(step for step in decision.reasons if step.verdict is Verdict.REFUSES)
    assert refusal.sentence == "Region local is refused: its continent is unknown."
    assert refusal.hint.endswith('DATA/config.toml and start Homeport again:\n[regions.local]\ncontinent = "EU"')


def test_a_country_is_never_turned_into_a_continent() -> None:
    berlin = Region("berlin", "DE", None, (X86,), "process")
    assert allowed(decide(Kind.AGENT, [places("eu", (PlaceType.CONTINENT, "EU"))], [berlin])) == {}


def test_a_missing_policy_refuses_everything() -> None:
    decision = decide(Kind.AGENT, [US, MissingPolicy("gone")], WORLD)
    assert allowed(decision) == {}
    assert decision.missing == (MissingPolicy("gone"),)
    assert any("never opens" in step.sentence for step in decision.reasons)


def test_a_policy_for_other_kinds_is_ignored_and_shown() -> None:
    model_only = places("m", (PlaceType.COUNTRY, "FR"), kinds=frozenset({"model"}))
    decision = decide(Kind.AGENT, [model_only], WORLD)
    assert len(decision.allowed) == len(WORLD)
    assert next(step.verdict for step in decision.reasons) is Verdict.IGNORED
    assert allowed(decide(Kind.JOB, [model_only], WORLD)) == {"paris": (X86, T4)}


def test_compliance_of_a_running_workload_is_asked_by_pair() -> None:
    decision = decide(Kind.AGENT, [NA_OR_EU, ONLY_T4], WORLD)
    assert decision.allows("PARIS", T4)
    assert not decision.allows("paris", X86)
    assert not decision.allows("lagos", T4)


CODES = st.sampled_from(["fr", "US", "NG", "us", "DE"])
CONTINENTS = st.sampled_from(["EU", "na", "AF", "AS"])
PLACES = st.one_of(
    st.tuples(st.just(PlaceType.COUNTRY), CODES),
    st.tuples(st.just(PlaceType.CONTINENT), CONTINENTS),
    st.tuples(st.just(PlaceType.LOCATION), st.sampled_from(["local", "PARIS", "lagos"])),
)
RULES = st.one_of(
    st.lists(PLACES, min_size=1, max_size=3).map(lambda options: places("l", *options)),
    st.lists(
        st.tuples(st.sampled_from(["x86", "T4", None]), st.sampled_from(["cpu", "gpu"])), min_size=1, max_size=2
    ).map(lambda options: flavors("f", *options)),
)


def pairs(decision: Decision) -> set[tuple[str, Flavor]]:
    return {(region.name, flavor) for region, offered in decision.allowed for flavor in offered}


@given(st.lists(RULES, max_size=5), RULES)
def test_the_first_policy_of_a_type_never_opens_and_a_further_one_never_closes(
    rules: list[PolicyRule], extra: PolicyRule
) -> None:
    before, after = pairs(decide(Kind.JOB, rules, WORLD)), pairs(decide(Kind.JOB, [*rules, extra], WORLD))
    if any(rule.type is extra.type for rule in rules):
        assert before <= after
    else:
        assert after <= before


@given(st.lists(RULES, max_size=5), st.randoms())
def test_order_does_not_matter(rules: list[PolicyRule], random: object) -> None:
    shuffled = [*rules]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pairs(decide(Kind.JOB, rules, WORLD)) == pairs(decide(Kind.JOB, shuffled, WORLD))


@given(st.lists(RULES, max_size=4))
def test_every_region_that_is_out_has_a_step_that_says_why(rules: list[PolicyRule]) -> None:
    decision = decide(Kind.JOB, rules, WORLD)
    refused = {step.subject for step in decision.reasons if step.verdict is Verdict.REFUSES}
    out = {f"region {region.name}" for region in WORLD} - {f"region {region.name}" for region, _ in decision.allowed}
    assert out == refused
