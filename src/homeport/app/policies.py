"""Create, read, change and delete policies."""

from dataclasses import replace

from homeport.app.context import Context, Intent
from homeport.app.resources import fetch, new_resource, updated
from homeport.core.errors import NotFound
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.policy.rules import PolicyRule
from homeport.store.contract import Transaction
from homeport.store.records import Resource

# The contract asks for all of these to see a policy's users: the answer names what each of them would list.
USAGES_SCOPES = ("policies:get", "agents:list", "functions:list", "models:list", "sandboxes:list", "jobs:list")


async def create_policy(context: Context, principal: Principal, intent: Intent) -> Resource:
    """Store a new policy. Raises `Invalid` for a specification that could not decide anything, `Conflict` for a
    name that exists."""
    require(principal, "policies:create")
    PolicyRule.from_spec(intent.name, intent.spec)
    policy = replace(new_resource(principal, Kind.POLICY, intent, context.clock.now()), observed_generation=1)
    await context.store.write(lambda tx: tx.resources.insert(policy))
    return policy


async def update_policy(context: Context, principal: Principal, intent: Intent) -> Resource:
    """Replace a policy. It acts at the next deployment or execution of what it is attached to (public contract)."""
    require(principal, "policies:update")
    PolicyRule.from_spec(intent.name, intent.spec)

    def write(tx: Transaction) -> Resource:
        stored = fetch(tx, principal.workspace, Kind.POLICY, intent.name)
        policy = updated(stored, principal, intent, context.clock.now())
        policy = replace(policy, observed_generation=policy.generation)
        tx.resources.replace(policy, stored.generation)
        return policy

    return await context.store.write(write)


async def delete_policy(context: Context, principal: Principal, name: str) -> Resource:
    """Remove a policy at once, in use or not (public contract). Workloads that still name it are refused at their next
    deployment: a missing policy never opens."""
    require(principal, "policies:delete")

    def write(tx: Transaction) -> Resource:
        stored = fetch(tx, principal.workspace, Kind.POLICY, name)
        tx.resources.delete(stored.uid)
        return stored

    return await context.store.write(write)


async def policy_usages(context: Context, principal: Principal, name: str) -> dict[Kind, list[str]]:
    """Names of the agents and jobs that name this policy."""
    for scope in USAGES_SCOPES:
        require(principal, scope)

    def read(tx: Transaction) -> list[Resource]:
        if tx.resources.get(principal.workspace, Kind.POLICY, name) is None:
            raise NotFound(f"There is no policy {name!r} in workspace {principal.workspace!r}.")
        return tx.resources.using_policy(principal.workspace, name)

    users = await context.store.read(read)
    kinds = (Kind.AGENT, Kind.JOB)
    return {kind: sorted(user.name for user in users if user.kind is kind) for kind in kinds}


async def count_usages(context: Context, principal: Principal) -> dict[str, dict[Kind, int]]:
    """How many agents and jobs of the workspace name each policy."""
    require(principal, "policies:list")

    def read(tx: Transaction) -> dict[str, dict[Kind, int]]:
        counts: dict[str, dict[Kind, int]] = {}
        for kind in (Kind.AGENT, Kind.JOB):
            for resource in tx.resources.every(kind):
                if resource.workspace == principal.workspace:
                    for name in dict.fromkeys(resource.spec.get("policies") or []):
                        by_kind = counts.setdefault(name, {})
                        by_kind[kind] = by_kind.get(kind, 0) + 1
        return counts

    return await context.store.read(read)
