"""The steps of a decision in words: what was looked at, what was found, what to change.

Called by the decision, by placement for its own steps, and by `explain`. It compares nothing and decides nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from homeport.core.ids import Kind
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import MissingPolicy, Place, PlaceType, PolicyRule, alternatives


class Verdict(StrEnum):
    """What a step found."""

    ALLOWS = "allows"  # passes what was looked at
    REFUSES = "refuses"  # what was looked at is out
    STATES = "states"  # what is known of it, before it is compared with anything
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


def policy_step(kind: Kind, policy: PolicyRule | MissingPolicy) -> Step:
    """What a policy that is attached to a workload of `kind` does to it."""
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
    sentence = f"{_capital(policy.describe())}.{idle_sentence(policy)}"
    if policy.tokens is not None:
        sentence = f"{sentence} {NOT_ENFORCED}"
    return Step(subject=subject, verdict=Verdict.LIMITS, sentence=sentence)


def rule_steps(rule: PolicyRule) -> list[Step]:
    """One policy by itself: what of it acts, on what, and what does nothing."""
    subject = f"policy {rule.name}"
    sentence = f"It is of type {rule.type}: it allows only {rule.describe_options()}."
    steps = [Step(subject=subject, verdict=Verdict.LIMITS, sentence=sentence)]
    kinds = ", ".join(["job", *sorted(rule.resource_types)]) if rule.resource_types else "all kinds"
    sentence = f"It acts on the workloads that name it, of {kinds}."
    steps.append(Step(subject=subject, verdict=Verdict.LIMITS, sentence=sentence))
    if rule.idle:
        steps.append(Step(subject=subject, verdict=Verdict.IGNORED, sentence=idle_sentence(rule).strip()))
    if rule.tokens is not None:
        steps.append(Step(subject=subject, verdict=Verdict.IGNORED, sentence=NOT_ENFORCED))
    return steps


NOT_ENFORCED = "Nothing spends tokens in this version, which has no model gateway: the limit is kept, not enforced."


def idle_sentence(policy: PolicyRule) -> str:
    """About parts of the policy's spec that do nothing, with a blank before it; empty where there is none."""
    if not policy.idle:
        return ""
    parts = " and ".join(f"spec.{part}" for part in policy.idle)
    return f" Its {parts} {'is' if len(policy.idle) == 1 else 'are'} kept without effect."


def region_steps(verdict: RegionVerdict, places: Sequence[PolicyRule], hardware: Sequence[PolicyRule]) -> list[Step]:
    """What the operator says of a region, and what the policies make of it."""
    subject = f"region {verdict.region.name}"
    steps = [_statement(verdict.region)]
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


def _statement(region: Region) -> Step:
    known = {"country": region.country, "continent": region.continent, "location": region.location}
    said = [f"{what} {value if what == 'location' else value.upper()}" for what, value in known.items() if value]
    unknown = [what for what, value in known.items() if not value]
    sentence = f"The operator says of region {region.name}: {', '.join(said) or 'nothing'}."
    if unknown:
        sentence += f" Unknown: {', '.join(unknown)}."
    if region.aliases:
        sentence += f" Its aliases {', '.join(region.aliases)} are only names: no policy looks at them."
    return Step(subject=f"region {region.name}", verdict=Verdict.STATES, sentence=sentence)


def _out_of_place(verdict: RegionVerdict, places: Sequence[PolicyRule]) -> Step:
    region = verdict.region
    wanted = tuple(place for rule in places for place in rule.places)
    sentence = f"Region {region.name} is refused: it is not {alternatives(wanted)}."
    hint = ""
    if verdict.unknown:
        sentence = f"Region {region.name} is refused: its {' and '.join(verdict.unknown)} is unknown."
        lines = configuration_lines(region.name, wanted, verdict.unknown)
        hint = f"If it is true, say so in DATA/config.toml and start Homeport again:\n{lines}"
    return Step(subject=f"region {region.name}", verdict=Verdict.REFUSES, sentence=sentence, hint=hint)


def _no_flavor(region: Region, hardware: Sequence[PolicyRule]) -> Step:
    offers = alternatives(region.flavors) or "no flavor"
    wanted = alternatives(tuple(pattern for rule in hardware for pattern in rule.flavors))
    asked = f", and the policies ask for {wanted}" if hardware else ""
    sentence = f"Region {region.name} is refused: it offers {offers}{asked}."
    return Step(subject=f"region {region.name}", verdict=Verdict.REFUSES, sentence=sentence)


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
    who, do = ("Policy", "does") if len(missing) == 1 else ("Policies", "do")
    if len(missing) == 1 and missing[0].unusable:
        return (
            f'Policy "{missing[0].name}" cannot be used by this version ({missing[0].unusable}): it refuses everything'
        )
    names = [f'"{one.name}"' + (f" (deleted by {one.deleted})" if one.deleted else "") for one in missing]
    return f"{who} {' and '.join(names)} {do} not exist: a missing policy refuses everything"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
