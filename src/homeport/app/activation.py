"""A request has come for a workload with no ready replica: wake the rollouts and wait until one is."""

import asyncio
from contextlib import suppress

from homeport.app.context import Context
from homeport.configuration import LOCAL
from homeport.core.errors import DriverUnavailable, NoCapacity, NotFound
from homeport.core.ids import SERVING, Kind
from homeport.policy.inventory import Region
from homeport.store.contract import Transaction
from homeport.store.records import Replica
from homeport.workloads.states import ReplicaState

WAIT_S = 30.0  # the edge holds its request no longer than this
AWAY_S = 1.0  # and than this for an engine that does not answer: it may take minutes
POLL_S = 0.05  # adds at most this to a cold start


async def activate_replica(
    context: Context, workspace: str, kind: str, name: str, revision: str = ""
) -> tuple[str, int]:
    """The address and port of a ready replica of the active revision; for a request of the canary's share (`revision`
    names it) of the canary, and of the active one while the canary has none: nobody has to wait for a program that is
    on trial. Raises `NotFound` for a workload that does not exist or does not serve, `NoCapacity` with the state it is
    in when none is ready in time, or with the engine that does not answer."""
    began, woken = context.clock.monotonic(), False
    while True:
        uid, served = await context.store.read(lambda tx: _serving(tx, workspace, kind, name, revision))
        if not woken:
            context.signals.rollouts.wake(uid)
            woken = True
        for region, replicas in served:
            for replica in replicas:
                if replica.state is ReplicaState.READY and await _answers(context, region, replica):
                    return replica.endpoint
        region, replicas = served[-1]
        waited_s = context.clock.monotonic() - began
        if waited_s > AWAY_S and await _is_away(context, region):
            raise NoCapacity(f"No replica of {name!r} can be reached: the engine of region {region!r} does not answer.")
        if waited_s > WAIT_S:
            states = ", ".join(f"{replica.state} {replica.message}".strip() for replica in replicas) or "none started"
            raise NoCapacity(f"No replica of {name!r} became ready within {WAIT_S:.0f} s ({states}).")
        await asyncio.sleep(POLL_S)


async def _answers(context: Context, name: str, replica: Replica) -> bool:
    """Whether its program listens now, in the region of this name. One that ended a moment ago is still READY in the
    store."""
    region = _region(context, name)
    with suppress(DriverUnavailable):
        return region is not None and replica.port in await context.drivers[region.driver].listening(replica.unit)
    return False


def _region(context: Context, name: str) -> Region | None:
    return next((region for region in context.regions if region.name == name), None)


async def _is_away(context: Context, name: str) -> bool:
    """Whether the region's engine does not answer. The node, which is this machine's, is back in a moment."""
    region = _region(context, name)
    if region is None or not region.runs_images:
        return False
    try:
        await context.drivers[region.driver].units()
    except DriverUnavailable:
        return True
    return False


def _serving(
    tx: Transaction, workspace: str, kind: str, name: str, revision: str
) -> tuple[str, list[tuple[str, list[Replica]]]]:
    """The uid, and the region and the replicas of each revision that may answer, in that order; the active one's come
    last."""
    found = tx.resources.get(workspace, Kind(kind), name) if kind in SERVING else None
    if found is None or found.deleting or found.spec.get("enabled") is False:
        raise NotFound(f"The workload {name!r} does not serve.")
    split = found.traffic.served
    if split.active is None:
        raise NotFound(f"The workload {name!r} has no revision that serves.")
    chosen = [split.canary, split.active] if revision and revision == split.canary else [split.active]
    regions = {known.id: known.region for known in tx.revisions.of(found.uid)}
    replicas = tx.replicas.of(found.uid)
    return found.uid, [
        (regions.get(one, LOCAL), [known for known in replicas if known.revision_id == one])
        for one in chosen
        if one is not None
    ]
