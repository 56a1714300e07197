"""Create, read, change and delete policies."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from homeport.app.context import Context, Intent
from homeport.app.resources import fetch, new_resource, updated
from homeport.core.errors import NotFound
from homeport.core.ids import WORKLOADS, Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.policy.rules import PolicyRule
from homeport.store.contract import Transaction
from homeport.store.records import Resource, Tombstone

# The contract asks for all of these to see a policy's users: the answer names what each of them would list.
USAGES_SCOPES = ("policies:get", "agents:list", "functions:list", "models:list", "sandboxes:list", "jobs:list")


async def create_policy(context: Context, principal: Principal, intent: Intent) -> Resource:
    """Store a new policy. Raises `Invalid` for a specification that could not decide anything, `Conflict` for a
    name that exists."""
    require(principal, "policies:create")
    PolicyRule.from_spec(intent.name, intent.spec)
    policy = replace(new_resource(principal, Kind.POLICY, intent, context.clock.now()), observed_generation=1)

    def write(tx: Transaction) -> Resource:
        tx.resources.insert(policy)
        tx.tombstones.remove(policy.workspace, policy.name)
        return policy

    return await context.store.write(write)


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
    deployment, which tells them who deleted it and when: a missing policy never opens."""
    require(principal, "policies:delete")
    now = context.clock.now()

    def write(tx: Transaction) -> Resource:
        stored = fetch(tx, principal.workspace, Kind.POLICY, name)
        tx.resources.delete(stored.uid)
        tx.tombstones.add(_tombstone(tx, stored, principal, now))
        return stored

    return await context.store.write(write)


def _tombstone(tx: Transaction, policy: Resource, principal: Principal, now: datetime) -> Tombstone:
    account = tx.identities.account(principal.sub)
    who = f"{account.name} ({principal.sub})" if account else principal.sub
    return Tombstone(workspace=policy.workspace, name=policy.name, deleted_at=now, deleted_by=who)


async def policy_usages(context: Context, principal: Principal, name: str) -> dict[Kind, list[str]]:
    """Names of the workloads that name this policy."""
    for scope in USAGES_SCOPES:
        require(principal, scope)

    def read(tx: Transaction) -> list[Resource]:
        if tx.resources.get(principal.workspace, Kind.POLICY, name) is None:
            raise NotFound(f"There is no policy {name!r} in workspace {principal.workspace!r}.")
        return tx.resources.using_policy(principal.workspace, name)

    users = await context.store.read(read)
    return {kind: sorted(user.name for user in users if user.kind is kind) for kind in WORKLOADS}


async def count_usages(context: Context, principal: Principal, names: Sequence[str]) -> dict[str, dict[Kind, int]]:
    """How many workloads of the workspace name each of these policies; those that nobody names are left out."""
    require(principal, "policies:list")
    return await context.store.read(lambda tx: tx.resources.count_policy_users(principal.workspace, names))
