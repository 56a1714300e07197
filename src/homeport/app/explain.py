"""Why a workload runs where it runs or why it may not, and what a policy does: every step of the decision, as it would
be made now."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from homeport.app.context import Context
from homeport.app.governance import RuleOf, Verdict, assess, form_now, stored_rule
from homeport.app.machines import driver_facts, machine_steps
from homeport.app.own_images import known_tag
from homeport.app.resources import fetch
from homeport.core.clock import timestamp
from homeport.core.errors import NotFound
from homeport.core.ids import WORKLOADS, Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.policy.decision import decide
from homeport.policy.inventory import Flavor
from homeport.policy.rules import MissingPolicy, PolicyRule
from homeport.policy.steps import Step, rule_steps
from homeport.store.contract import Transaction
from homeport.store.records import Resource, Revision

USERS_MOST = 200  # shown with an outcome each; how many there are in all is always said


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The verdict of today for the stored specification; the newest revision, and whether it would be placed where it
    was placed. `machines`: which regions are one machine."""

    resource: Resource
    verdict: Verdict
    newest: Revision | None
    newest_allowed: bool
    machines: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyUser:
    """A workload that names a policy, and what all of its policies decide about it now."""

    resource: Resource
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyExplanation:
    """`steps`: the policy alone. `machines`: as in `Explanation`. `users`: at most `USERS_MOST` of the `total`
    workloads that name it."""

    policy: Resource
    steps: tuple[Step, ...]
    machines: tuple[Step, ...]
    users: list[PolicyUser]
    total: int


async def explain_workload(context: Context, principal: Principal, kind: Kind, name: str) -> Explanation:
    require(principal, f"{kind.plural}:get")
    machines = machine_steps(context.regions, await driver_facts(context))

    def read(tx: Transaction) -> Explanation:
        resource = fetch(tx, principal.workspace, kind, name)
        verdict = _assess(context, tx, resource, rules_of(tx, principal.workspace))
        newest = next(iter(tx.revisions.of(resource.uid)), None)
        return Explanation(
            resource=resource,
            verdict=verdict,
            newest=newest,
            newest_allowed=_still_allowed(verdict, newest),
            machines=machines,
        )

    return await context.store.read(read)


async def explain_policy(context: Context, principal: Principal, name: str) -> PolicyExplanation:
    """Raises `NotFound`, which says who deleted the policy and when where that is known."""
    for scope in ("policies:get", *(f"{kind.plural}:list" for kind in WORKLOADS)):
        require(principal, scope)
    machines = machine_steps(context.regions, await driver_facts(context))

    def read(tx: Transaction) -> PolicyExplanation:
        rule = stored_rule(tx, principal.workspace, name)
        policy = tx.resources.get(principal.workspace, Kind.POLICY, name)
        if policy is None:
            raise _no_policy(tx, principal.workspace, name)
        rule_of = rules_of(tx, principal.workspace)
        found = tx.resources.using_policy(principal.workspace, name)
        users = [PolicyUser(resource=user, verdict=_assess(context, tx, user, rule_of)) for user in found[:USERS_MOST]]
        steps = _alone(context, rule)
        return PolicyExplanation(policy=policy, steps=steps, machines=machines, users=users, total=len(found))

    return await context.store.read(read)


def rules_of(tx: Transaction, workspace: str) -> RuleOf:
    """The stored policies by name, each read once."""
    known: Callable[[str], PolicyRule | MissingPolicy] = cache(lambda name: stored_rule(tx, workspace, name))
    return known


def _assess(context: Context, tx: Transaction, resource: Resource, rule_of: RuleOf) -> Verdict:
    """The verdict of today for what is stored."""
    tag = known_tag(tx, resource.workspace, resource.kind, resource.spec)
    return assess(context, resource.kind, resource.spec, rule_of, tag, form_now(context, tx, resource))


def _alone(context: Context, rule: PolicyRule | MissingPolicy) -> tuple[Step, ...]:
    """What one policy says of every region. A job is what every policy acts on."""
    first, *others = decide(Kind.JOB, [rule], context.regions).reasons
    return (first,) if isinstance(rule, MissingPolicy) else (*rule_steps(rule), *others)


def _still_allowed(verdict: Verdict, revision: Revision | None) -> bool:
    if revision is None or verdict.refusal is not None:
        return False
    name, _, type_ = revision.flavor.rpartition("/")
    return verdict.decision.allows(revision.region, Flavor(name, type_))


def _no_policy(tx: Transaction, workspace: str, name: str) -> NotFound:
    gone = tx.tombstones.get(workspace, name)
    deleted = f" {gone.deleted_by} deleted it on {timestamp(gone.deleted_at)}." if gone else ""
    return NotFound(f"There is no policy {name!r} in workspace {workspace!r}.{deleted}")
