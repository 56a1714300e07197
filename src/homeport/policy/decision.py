"""The decision: the policies attached to a workload and the inventory, turned into what is allowed and why.

Called at every deployment and execution, and by `explain`. Union inside a type, intersection across types, no policy
of a type allows all of it (public contract; choices beyond it in docs/decisions/0005-policy-semantics.md). It chooses
nothing: `homeport.placement` takes one of the allowed pairs, or words the refusal.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from homeport.core.ids import Kind
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import MissingPolicy, Place, PlaceType, PolicyRule, PolicyType, TokenLimit, alternatives


class Verdict(StrEnum):
    """What a step found."""

    ALLOWS = "allows"  # passes what was looked at
    REFUSES = "refuses"  # what was looked at is out
    LIMITS = "limits"  # a rule that takes part, before it is compared with anything
    IGNORED = "ignored"  # a policy that does not act on this kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a decision: `subject` was looked at, this was found, and `sentence` says so to people. `hint` is
    what to change, empty where nothing needs to."""

    subject: str
    verdict: Verdict
    sentence: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionVerdict:
    """What the policies say of one region.

    `in_place`: no location policy, or one of their places matches. `unknown`: `country`, `continent` and `location`,
    where a place asks for them and the operator has not said them. `flavors`: those that the flavor policies allow,
    whether or not the region is in place.
    """

    region: Region
    in_place: bool
    unknown: tuple[str, ...]
    flavors: tuple[Flavor, ...]

    @property
    def allowed(self) -> bool:
        return self.in_place and bool(self.flavors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policies allow together. `token_limits` act as a union too: one of them with room is enough."""

    kind: Kind
    regions: tuple[RegionVerdict, ...]
    missing: tuple[MissingPolicy, ...]
    location_rules: tuple[PolicyRule, ...]
    flavor_rules: tuple[PolicyRule, ...]
    token_limits: tuple[TokenLimit, ...]
    reasons: tuple[Step, ...]

    @property
    def allowed(self) -> tuple[tuple[Region, tuple[Flavor, ...]], ...]:
        """The allowed pairs, in the inventory's order; empty when a policy is missing."""
        if self.missing:
            return ()
        return tuple((verdict.region, verdict.flavors) for verdict in self.regions if verdict.allowed)

    @property
    def refuses_everything(self) -> bool:
        return not self.allowed

    def allows(self, region: str, flavor: Flavor) -> bool:
        """Whether a workload that runs there now still complies; comparison ignores case."""
        return any(
            here.name.casefold() == region.casefold()
            and any(str(one).casefold() == str(flavor).casefold() for one in all_)
            for here, all_ in self.allowed
        )

    def explain(self) -> tuple[str, ...]:
        """The sentences of every step, in order."""
        return tuple(f"{step.sentence} {step.hint}".strip() for step in self.reasons)


def decide(kind: Kind, policies: Sequence[PolicyRule | MissingPolicy], inventory: Sequence[Region]) -> Decision:
    """What `policies`, all attached to a workload of `kind`, allow of `inventory`."""
    missing = tuple(policy for policy in policies if isinstance(policy, MissingPolicy))
    rules = [policy for policy in policies if isinstance(policy, PolicyRule)]
    binding = [rule for rule in rules if rule.binds(kind)]
    places = tuple(rule for rule in binding if rule.type is PolicyType.LOCATION)
    hardware = tuple(rule for rule in binding if rule.type is PolicyType.FLAVOR)
    verdicts = tuple(_judge(region, places, hardware) for region in inventory)
    steps = [_policy_step(kind, policy) for policy in policies]
    if not policies:
        steps.append(
            Step(subject="policies", verdict=Verdict.ALLOWS, sentence="No policy is attached: all is allowed.")
        )
    for verdict in verdicts:
        steps.extend(_region_steps(verdict, places, hardware))
    limits = tuple(rule.tokens for rule in binding if rule.tokens is not None)
    return Decision(
        kind=kind,
        regions=verdicts,
        missing=missing,
        location_rules=places,
        flavor_rules=hardware,
        token_limits=limits,
        reasons=tuple(steps),
    )


def configuration_lines(region: str, places: Sequence[Place], unknown: Sequence[str]) -> str:
    """The lines of DATA/config.toml that would tell what `places` ask and nobody has said of `region`.

    One value a field: the first that a policy names. The operator must write what is true; the words around these
    lines say so.
    """
    lines = [f"[regions.{region}]"]
    for kind in (PlaceType.CONTINENT, PlaceType.COUNTRY, PlaceType.LOCATION):
        asked = [place.name for place in places if place.type is kind]
        if asked and kind.value in unknown:
            said = asked[0] if kind is PlaceType.LOCATION else asked[0].upper()
            lines.append(f"{kind.value} = {toml_text(said)}")
    return "\n".join(lines)


def toml_text(value: str) -> str:
    """`value` as a basic string of TOML, which writes what must be escaped as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def missing_sentence(missing: Sequence[MissingPolicy]) -> str:
    """Without its full stop: `Policy "a" does not exist (deleted by …): a missing policy refuses everything`."""
    names = [f'"{one.name}"' + (f" (deleted by {one.deleted})" if one.deleted else "") for one in missing]
    who, do = ("Policy", "does") if len(names) == 1 else ("Policies", "do")
    return f"{who} {' and '.join(names)} {do} not exist: a missing policy refuses everything"


def _judge(region: Region, places: Sequence[PolicyRule], hardware: Sequence[PolicyRule]) -> RegionVerdict:
    wanted = [place for rule in places for place in rule.places]
    patterns = [pattern for rule in hardware for pattern in rule.flavors]
    in_place = not places or any(place.matches(region) for place in wanted)
    unknown = {place.type.value for place in wanted if place.known_of(region) is None}
    flavors = tuple(one for one in region.flavors if not hardware or any(p.matches(one) for p in patterns))
    return RegionVerdict(
        region=region,
        in_place=in_place,
        unknown=() if in_place else tuple(sorted(unknown)),
        flavors=flavors,
    )


def _policy_step(kind: Kind, policy: PolicyRule | MissingPolicy) -> Step:
    subject = f"policy {policy.name}"
    if isinstance(policy, MissingPolicy):
        return Step(
            subject=subject,
            verdict=Verdict.REFUSES,
            sentence=f"{missing_sentence([policy])}, it never opens.",
            hint=f'Create policy "{policy.name}", or take its name out of spec.policies.',
        )
    if not policy.binds(kind):
        targets = ", ".join(sorted(policy.resource_types))
        sentence = f'Policy "{policy.name}" is ignored: it acts on {targets}, and this is a workload of kind {kind}.'
        return Step(subject=subject, verdict=Verdict.IGNORED, sentence=sentence)
    return Step(subject=subject, verdict=Verdict.LIMITS, sentence=_capital(f"{policy.describe()}."))


def _region_steps(verdict: RegionVerdict, places: Sequence[PolicyRule], hardware: Sequence[PolicyRule]) -> list[Step]:
    subject = f"region {verdict.region.name}"
    steps = []
    if not verdict.in_place:
        steps.append(_out_of_place(verdict, places))
    elif places:
        wanted = [place for rule in places for place in rule.places if place.matches(verdict.region)]
        sentence = f"Region {verdict.region.name} is {alternatives(tuple(wanted[:1]))}: allowed."
        steps.append(Step(subject=subject, verdict=Verdict.ALLOWS, sentence=sentence))
    if verdict.flavors:
        offered = alternatives(verdict.flavors)
        by = "" if hardware else " (no flavor policy)"
        sentence = f"In region {verdict.region.name}, flavor {offered} is allowed{by}."
        steps.append(Step(subject=subject, verdict=Verdict.ALLOWS, sentence=sentence))
    else:
        steps.append(_no_flavor(verdict.region, hardware))
    return steps


def _out_of_place(verdict: RegionVerdict, places: Sequence[PolicyRule]) -> Step:
    region = verdict.region
    wanted = tuple(place for rule in places for place in rule.places)
    sentence = f"Region {region.name} is refused: it is not {alternatives(wanted)}."
    hint = ""
    if verdict.unknown:
        sentence = f"Region {region.name} is refused: its {' and '.join(verdict.unknown)} is unknown."
        lines = configuration_lines(region.name, wanted, verdict.unknown)
        hint = f"If it is true, say so in DATA/config.toml:\n{lines}"
    return Step(subject=f"region {region.name}", verdict=Verdict.REFUSES, sentence=sentence, hint=hint)


def _no_flavor(region: Region, hardware: Sequence[PolicyRule]) -> Step:
    offers = alternatives(region.flavors) or "no flavor"
    wanted = alternatives(tuple(pattern for rule in hardware for pattern in rule.flavors))
    asked = f", and the policies ask for {wanted}" if hardware else ""
    sentence = f"Region {region.name} is refused: it offers {offers}{asked}."
    return Step(subject=f"region {region.name}", verdict=Verdict.REFUSES, sentence=sentence)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
