"""A request has come for a workload with no ready replica: wake the rollouts and wait until one is."""

import asyncio
from contextlib import suppress

from homeport.app.context import Context
from homeport.core.errors import DriverUnavailable, NoCapacity, NotFound
from homeport.core.ids import Kind
from homeport.store.contract import Transaction
from homeport.store.records import Replica
from homeport.workloads.states import ReplicaState, RevisionState

WAIT_S = 30.0  # the edge holds its request no longer than this
POLL_S = 0.05  # adds at most this to a cold start


async def activate_replica(context: Context, workspace: str, kind: str, name: str) -> tuple[str, int]:
    """The address and port of a ready replica of the serving revision. Raises `NotFound` for a workload that does not
    exist or does not serve, `NoCapacity` with the state it is in when none is ready in time."""
    context.signals.rollouts.wake()
    deadline = context.clock.monotonic() + WAIT_S
    while True:
        replicas = await context.store.read(lambda tx: _replicas(tx, workspace, kind, name))
        for replica in replicas:
            if replica.state is ReplicaState.READY and await _answers(context, replica):
                return replica.endpoint
        if context.clock.monotonic() > deadline:
            states = ", ".join(f"{replica.state} {replica.message}".strip() for replica in replicas) or "none started"
            raise NoCapacity(f"No replica of {name!r} became ready within {WAIT_S:.0f} s ({states}).")
        await asyncio.sleep(POLL_S)


async def _answers(context: Context, replica: Replica) -> bool:
    """Whether its program listens now. One that ended a moment ago is still READY in the store."""
    for driver in context.drivers.values():
        with suppress(DriverUnavailable):  # one that is away cannot say so, and another may have it
            if replica.port in await driver.listening(replica.unit):
                return True
    return False


def _replicas(tx: Transaction, workspace: str, kind: str, name: str) -> list[Replica]:
    agent = tx.resources.get(workspace, Kind.AGENT, name) if kind == Kind.AGENT else None
    if agent is None or agent.deleting or agent.spec.get("enabled") is False:
        raise NotFound(f"The workload {name!r} does not serve.")
    serving = {known.id for known in tx.revisions.of(agent.uid) if known.state is RevisionState.SERVING}
    if not serving:
        raise NotFound(f"The workload {name!r} has no revision that serves.")
    return [replica for replica in tx.replicas.of(agent.uid) if replica.revision_id in serving]
