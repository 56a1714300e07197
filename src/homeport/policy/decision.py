"""The decision: the policies attached to a workload and the inventory, turned into what is allowed and why.

Called at every deployment and execution, and by `explain`. Union inside a type, intersection across types, no policy
of a type allows all of it (public contract; choices beyond it in docs/decisions/0005-policy-semantics.md). It chooses
nothing: `homeport.placement` takes one of the allowed pairs, or words the refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from homeport.core.ids import Kind
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import MissingPolicy, PolicyRule, PolicyType, TokenLimit
from homeport.policy.steps import RegionVerdict as RegionVerdict
from homeport.policy.steps import Step as Step
from homeport.policy.steps import Verdict as Verdict
from homeport.policy.steps import policy_step, region_steps


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
    steps = [policy_step(kind, policy) for policy in policies]
    if not policies:
        steps.append(
            Step(subject="policies", verdict=Verdict.ALLOWS, sentence="No policy is attached: all is allowed.")
        )
    for verdict in verdicts:
        steps.extend(region_steps(verdict, places, hardware))
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
