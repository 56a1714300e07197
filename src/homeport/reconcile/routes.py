"""From the store to the gateway: which workloads answer, at which replicas. Published after every change that the
rollouts make; pure but for the publishing."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv4Network

from homeport.configuration import LOCAL
from homeport.core.clock import Clock
from homeport.core.ids import RevisionId
from homeport.core.links import is_linked, linked_networks
from homeport.dataplane.routes import Endpoint, Gateway, RevisionRoute, WorkloadRoute
from homeport.dataplane.xds import XdsServer
from homeport.identity.keys import KeyRing
from homeport.reconcile.observation import read_workloads
from homeport.store.contract import Store, Transaction
from homeport.store.records import Replica, Resource, Revision
from homeport.workloads.states import ReplicaState, RevisionState

SKEW_S = 24 * 3600  # a revoked key that expired so long ago may be forgotten


class Routes:
    """Reads the whole picture and hands it on; the data plane finds out what changed."""

    def __init__(self, store: Store, clock: Clock, keys: KeyRing, xds: XdsServer) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._xds = xds
        self._turn = asyncio.Lock()
        self._revoked: frozenset[str] = frozenset()
        self._linked: frozenset[IPv4Network] = frozenset()

    async def publish(self) -> int:
        """Publish the present state; returns the version to wait for with `XdsServer.acknowledged`. One at a time, so
        that an older picture never replaces a newer one."""
        async with self._turn:
            linked = linked_networks()
            picture = await self._store.read(lambda tx: self._picture(tx, linked))
            self._revoked, self._linked = picture.revoked, linked
            return self._xds.publish(picture)

    async def changed_outside(self) -> bool:
        """Whether other keys are revoked, or other networks there, than when the gateway was told last."""
        return linked_networks() != self._linked or await self._store.read(self._revoked_now) != self._revoked

    def _revoked_now(self, tx: Transaction) -> frozenset[str]:
        """Also those that expired a while ago: the gateway allows for some skew of clocks, and a clock that is set back
        makes an expired key valid again."""
        return frozenset(tx.identities.revoked_keys(self._clock.now() - timedelta(seconds=SKEW_S)))

    def _picture(self, tx: Transaction, linked: frozenset[IPv4Network]) -> Gateway:
        """Of replicas in containers, those whose network is there: another host might have their address else."""
        found = (
            route_of(one.resource, one.revisions, [known for known in one.replicas if _is_here(known, linked)])
            for one in read_workloads(tx)
        )
        routes = tuple(route for route in found if route is not None)
        return Gateway(routes=routes, jwks=self._keys.public_jwks(), revoked=self._revoked_now(tx))


def route_of(found: Resource, revisions: Iterable[Revision], replicas: Iterable[Replica]) -> WorkloadRoute | None:
    """The workload's address, or None while nothing of it serves. The serving revision has all the weight; replicas of
    others appear only while they finish their requests."""
    if found.deleting or found.spec.get("enabled") is False:
        return None
    revisions = [*revisions]
    states = {known.id: known.state for known in revisions}
    in_containers = {known.id for known in revisions if known.region != LOCAL}
    serving = next((known for known, state in states.items() if state is RevisionState.SERVING), None)
    if serving is None:
        return None
    endpoints: dict[RevisionId, list[Endpoint]] = defaultdict(list, {serving: []})
    for replica in replicas:
        if _routed(replica, states):
            draining = replica.state is ReplicaState.DRAINING or replica.revision_id != serving
            address, port = replica.endpoint
            endpoints[replica.revision_id].append(Endpoint(address=address, port=port, draining=draining))
    shares = tuple(
        RevisionRoute(
            revision=revision,
            weight=100 if revision == serving else 0,
            endpoints=tuple(at),
            in_containers=revision in in_containers,
        )
        for revision, at in sorted(endpoints.items())
    )
    public = found.spec.get("public") is True
    return WorkloadRoute(workspace=found.workspace, kind=found.kind, name=found.name, revisions=shares, public=public)


def _is_here(replica: Replica, linked: frozenset[IPv4Network]) -> bool:
    in_container_here = bool(replica.address) and ":" not in replica.address
    return not in_container_here or is_linked(replica.address, linked)


def _routed(replica: Replica, states: dict[RevisionId, RevisionState]) -> bool:
    """One that was switched away from a moment ago stays known, so that its requests are still counted."""
    if replica.state is ReplicaState.DRAINING:
        return True
    served = states.get(replica.revision_id) in (RevisionState.SERVING, RevisionState.SUPERSEDED)
    return replica.state is ReplicaState.READY and served
