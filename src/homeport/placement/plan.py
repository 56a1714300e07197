"""Placement: a decision, the inventory, and what the workload asks → a plan, or a refusal in words.

Called when a revision or an execution is made. Deterministic: the first allowed region in the operator's order and
its first allowed flavor, so that the same question has the same answer and `explain` can repeat it. It looks at no
load and no capacity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from homeport.core.errors import Denied, Invalid
from homeport.placement.refusal import refusal_of
from homeport.policy.decision import Decision, Step, Verdict
from homeport.policy.inventory import ALIAS, ANYWHERE, Flavor, Region
from homeport.policy.rules import alternatives
from homeport.policy.steps import toml_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where a workload runs. `reasons` are the decision's steps and the choice."""

    region: str
    flavor: Flavor
    driver: str
    reasons: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Nothing fits. `policies` are the names that stand in the way; `message` is for the caller, `hint` says what to
    change."""

    policies: tuple[str, ...]
    message: str
    hint: str
    reasons: tuple[Step, ...]

    def as_error(self) -> Denied:
        return Denied(self.message, hint=self.hint, detail=" ".join(step.sentence for step in self.reasons))


def place(
    decision: Decision,
    inventory: Sequence[Region],
    *,
    pin: str | None,
    flavors_asked: Sequence[Flavor] = (),
) -> Plan | Refusal:
    """The place for a workload. `pin` is its `spec.region`: a region's name or alias; None, empty and `auto` mean
    anywhere.

    Raises `Invalid` for a region or a flavor that does not exist: that is the request's mistake, not a policy's.
    """
    pinned = pinned_region(inventory, pin)
    _check_flavors(inventory, flavors_asked)
    asked = _asked_steps(pin, pinned, flavors_asked)
    for region, flavors in decision.allowed:
        if pinned is not None and region.name != pinned.name:
            continue
        fitting = [flavor for flavor in flavors if _asked(flavor, flavors_asked)]
        if fitting:
            why = "it is pinned there" if pinned is not None else "the first that is allowed"
            sentence = f"Placed in region {region.name} on flavor {fitting[0]}: {why}."
            step = Step(subject="placement", verdict=Verdict.ALLOWS, sentence=sentence)
            reasons = (*decision.reasons, *asked, step)
            return Plan(region=region.name, flavor=fitting[0], driver=region.driver, reasons=reasons)
    policies, message, hint = refusal_of(decision, inventory, pinned, flavors_asked)
    step = Step(subject="placement", verdict=Verdict.REFUSES, sentence=message, hint=hint)
    reasons = (*decision.reasons, *asked, step)
    return Refusal(policies=policies, message=message, hint=hint, reasons=reasons)


def refused_request(decision: Decision, error: Invalid) -> Refusal:
    """A request that `place` could not look at, as a refusal: for explanations, which answer where a request fails."""
    step = Step(subject=error.field, verdict=Verdict.REFUSES, sentence=error.message, hint=error.hint)
    return Refusal(policies=(), message=error.message, hint=error.hint, reasons=(*decision.reasons, step))


def _asked_steps(pin: str | None, pinned: Region | None, flavors_asked: Sequence[Flavor]) -> list[Step]:
    """What the workload asks for by itself, whatever the policies say."""
    steps = []
    if pinned is not None:
        alias = "" if pinned.name.casefold() == (pin or "").casefold() else f", an alias of region {pinned.name}"
        sentence = f"The workload asks for region {pin}{alias}."
        steps.append(Step(subject="spec.region", verdict=Verdict.LIMITS, sentence=sentence))
    if flavors_asked:
        sentence = f"The workload asks for flavor {alternatives(tuple(flavors_asked))}."
        steps.append(Step(subject="spec.flavors", verdict=Verdict.LIMITS, sentence=sentence))
    return steps


def pinned_region(inventory: Sequence[Region], pin: str | None) -> Region | None:
    """The region that `pin` names; None where it names none in particular. Raises `Invalid` for one that is none."""
    if not pin or pin.casefold() == ANYWHERE:
        return None
    for region in inventory:
        if region.is_named(pin):
            return region
    names = ", ".join(name for region in inventory for name in (region.name, *region.aliases)) or "none exists"
    rule = f"must be a region of this installation: {names}, or {ANYWHERE}"
    raise Invalid("spec.region", rule, value=pin, hint=_how_to_alias(inventory, pin))


def _how_to_alias(inventory: Sequence[Region], pin: str) -> str:
    """The line that would let `pin` mean the first region; nothing where it could be no alias."""
    name = pin.lower()
    if not inventory or not ALIAS.fullmatch(name):
        return ""
    first = inventory[0]
    aliases = ", ".join(toml_text(alias) for alias in (*first.aliases, name))
    return (
        f"To let {name} mean {first.name}, write in DATA/config.toml, and start again:\n"
        f"[regions.{first.name}]\naliases = [{aliases}]"
    )


def _check_flavors(inventory: Sequence[Region], flavors_asked: Sequence[Flavor]) -> None:
    existing = {str(flavor).casefold(): str(flavor) for region in inventory for flavor in region.flavors}
    for index, flavor in enumerate(flavors_asked):
        if str(flavor).casefold() not in existing:
            names = ", ".join(existing.values()) or "none exists"
            rule = f"must be a flavor of this installation: {names}"
            raise Invalid(f"spec.flavors[{index}]", rule, value=str(flavor))


def _asked(flavor: Flavor, flavors_asked: Sequence[Flavor]) -> bool:
    return not flavors_asked or str(flavor).casefold() in {str(one).casefold() for one in flavors_asked}
