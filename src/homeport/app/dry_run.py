"""What a change of a policy would do to the workloads that name it, without making it. Nothing is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from homeport.app.context import Context
from homeport.app.explain import rules_of
from homeport.app.governance import RuleOf, Verdict, assess, attached, form_now
from homeport.app.own_images import known_tag
from homeport.app.resources import every_of, fetch
from homeport.core.ids import WORKLOADS, Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.placement.plan import Plan
from homeport.policy.rules import MissingPolicy, PolicyRule
from homeport.store.contract import Transaction
from homeport.store.records import Resource

SHOWN_MOST = 1000  # of each list; the counts are exact whatever is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """`spec` None deletes the policy. `attach`: as if every workload of the workspace named it, too."""

    name: str
    spec: dict[str, Any] | None
    attach: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One workload that the change would treat otherwise, at its next deployment or execution."""

    resource: Resource
    before: Verdict
    after: Verdict


@dataclass(slots=True, kw_only=True)
class DryRun:
    """`exists`: whether there is such a policy now. `refused`: allowed now, refused then. `allowed`: the other way
    round. `moved`: placed elsewhere. The rest is unaffected; `refused_anyway` of it is refused now and then."""

    change: PolicyChange
    exists: bool
    refused: list[Effect] = field(default_factory=list)
    allowed: list[Effect] = field(default_factory=list)
    moved: list[Effect] = field(default_factory=list)
    unaffected: int = 0
    refused_anyway: int = 0


async def dry_run_policy(context: Context, principal: Principal, change: PolicyChange) -> DryRun:
    """Judge every workload that the change could concern, before and after it. Raises `Invalid` for a specification
    that could not decide anything, `NotFound` for the deletion of a policy that is not there."""
    for scope in ("policies:get", *(f"{kind.plural}:list" for kind in WORKLOADS)):
        require(principal, scope)
    changed = MissingPolicy(change.name) if change.spec is None else PolicyRule.from_spec(change.name, change.spec)

    def read(tx: Transaction) -> DryRun:
        if change.spec is None:
            fetch(tx, principal.workspace, Kind.POLICY, change.name)
        exists = tx.resources.get(principal.workspace, Kind.POLICY, change.name) is not None
        result = DryRun(change=change, exists=exists)
        now = rules_of(tx, principal.workspace)

        def then(name: str) -> PolicyRule | MissingPolicy:
            return changed if name == change.name else now(name)

        judge_both = _judge_both(context, tx, change, now, then)
        for resource in _concerned(tx, principal.workspace, change):
            _sort(result, judge_both(resource))
        return result

    return await context.store.read(read)


def _concerned(tx: Transaction, workspace: str, change: PolicyChange) -> list[Resource]:
    if not change.attach:
        found = tx.resources.using_policy(workspace, change.name)
    else:
        found = [one for kind in WORKLOADS for one in every_of(tx, workspace, kind)]
    return [one for one in found if not one.deleting]


def _judge_both(
    context: Context, tx: Transaction, change: PolicyChange, now: RuleOf, then: RuleOf
) -> Callable[[Resource], Effect]:
    def judge(resource: Resource) -> Effect:
        spec, form = resource.spec, form_now(context, tx, resource)
        tag = known_tag(tx, resource.workspace, resource.kind, spec)
        changed = {**spec, "policies": [*attached(spec), change.name]} if change.attach else spec
        return Effect(
            resource=resource,
            before=assess(context, resource.kind, spec, now, tag, form),
            after=assess(context, resource.kind, changed, then, tag, form),
        )

    return judge


def _sort(result: DryRun, effect: Effect) -> None:
    before, after = effect.before.placed, effect.after.placed
    if isinstance(before, Plan) and isinstance(after, Plan):
        if (before.region, before.flavor) != (after.region, after.flavor):
            result.moved.append(effect)
        else:
            result.unaffected += 1
    elif isinstance(before, Plan):
        result.refused.append(effect)
    elif isinstance(after, Plan):
        result.allowed.append(effect)
    else:
        result.unaffected += 1
        result.refused_anyway += 1
