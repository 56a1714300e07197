"""How a rollout stands, and the three orders about it: promote, undo, abort. Each changes `spec.revision` alone, in one
write, so that it never carries along what somebody else has changed meanwhile."""

from dataclasses import dataclass
from enum import StrEnum

from homeport.app.context import Context, Intent
from homeport.app.deployments import Update, apply_update
from homeport.app.resources import fetch
from homeport.core.ids import Kind, RevisionId
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.reconcile.observation import place_of
from homeport.sealing.specs import masked
from homeport.store.contract import Transaction
from homeport.store.records import Resource, Revision
from homeport.workloads.states import WorkloadStatus
from homeport.workloads.steering import aborted, promoted, undone


class Verb(StrEnum):
    """What can be asked of a rollout."""

    PROMOTE = "promote"  # the canary, or a revision that is kept, becomes the active one, or gets another share
    UNDO = "undo"  # the revision that was active before serves again, or any other that is kept
    ABORT = "abort"  # the active one keeps all requests: without canary, without what is on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A workload with its revisions, newest first."""

    resource: Resource
    revisions: list[Revision]

    @property
    def failed(self) -> RevisionId | None:
        """The revision for which the last order came to nothing."""
        if self.resource.traffic.failed is not None:
            return self.resource.traffic.failed
        if self.resource.status is WorkloadStatus.FAILED and self.revisions:
            return self.revisions[0].id  # one that was only to be kept
        return None

    @property
    def failure(self) -> str:
        """Why the last order came to nothing; empty if it did not."""
        failed = self.failed
        return next((one.message for one in self.revisions if one.id == failed), "it is gone") if failed else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`revision` names another one than `verb` would choose; `percent` is what a promoted one gets."""

    verb: Verb
    revision: str = ""
    percent: int = 100


async def read_rollout(context: Context, principal: Principal, kind: Kind, name: str) -> Rollout:
    require(principal, f"{kind.plural}:get")
    return await context.store.read(lambda tx: _rollout(tx, fetch(tx, principal.workspace, kind, name)))


async def order_rollout(context: Context, principal: Principal, kind: Kind, name: str, order: Order) -> Rollout:
    """Nothing is built. Raises `Invalid` for a revision that is not kept or was never built, `Conflict` where there is
    nothing to promote, to undo or to abort, `Denied` where a policy refuses."""
    require(principal, f"{kind.plural}:update")
    context.space.require()
    now = context.clock.now()

    def write(tx: Transaction) -> Rollout:
        stored = fetch(tx, principal.workspace, kind, name)
        asked = _asked(tx, stored, order)
        kept = {key: value for key, value in (stored.spec.get("revision") or {}).items() if key not in _STEERING}
        intent = Intent(
            name=stored.name,
            display_name=stored.display_name,
            external_id=stored.external_id,
            labels=stored.labels,
            spec={**masked(stored.spec), "revision": {**kept, **asked}},
        )
        update = Update(upload=False, missing={}, ignored=(), now=now)
        apply_update(context, tx, principal, stored, intent, update)
        return _rollout(tx, fetch(tx, principal.workspace, kind, name))

    rollout = await context.store.write(write)
    context.signals.builds.wake()  # one that it had under way is to end
    context.signals.rollouts.wake(rollout.resource.uid)
    return rollout


_STEERING = ("active", "canary", "canaryPercent", "traffic")


def _asked(tx: Transaction, stored: Resource, order: Order) -> dict[str, object]:
    """The `spec.revision` that the verb stands for."""
    traffic, views = stored.traffic, [place_of(known) for known in tx.revisions.of(stored.uid)]
    if order.verb is Verb.ABORT:
        return {"active": aborted(traffic)}
    if order.verb is Verb.UNDO:
        return {"active": order.revision or undone(traffic)}
    chosen = order.revision or promoted(traffic, views)
    active = traffic.served.active or traffic.wanted.active
    if order.percent == 100 or active is None:
        return {"active": chosen}
    return {"active": active, "canary": chosen, "canaryPercent": order.percent}


def _rollout(tx: Transaction, resource: Resource) -> Rollout:
    return Rollout(resource=resource, revisions=tx.revisions.of(resource.uid))
