"""From the store to the gateway: which workloads answer, at which replicas. Published after every change that the
rollouts make.

The whole picture is read once; after that only the workload is read that changed, so that a change costs the same
however many others there are. What is published is always what the store said after the change.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import timedelta
from ipaddress import IPv4Network

from homeport.configuration import LOCAL
from homeport.core.clock import Clock
from homeport.core.ids import SERVING, RevisionId
from homeport.core.links import is_linked, linked_networks
from homeport.dataplane.routes import Endpoint, Gateway, RevisionRoute, WorkloadRoute
from homeport.dataplane.xds import XdsServer
from homeport.identity.keys import KeyRing
from homeport.reconcile.observation import Workload, read_each, read_workloads
from homeport.store.contract import Store, Transaction
from homeport.store.records import Replica, Resource, Revision
from homeport.workloads.addresses import host_label, stored_addresses
from homeport.workloads.states import ReplicaState, RevisionState

SKEW_S = 24 * 3600  # a revoked key that expired so long ago may be forgotten


class Picture:
    """The routes that were read last, each with the workload (by uid) whose it is."""

    def __init__(self) -> None:
        self._routes: dict[str, tuple[str, WorkloadRoute]] = {}  # by address
        self._addresses: dict[str, str] = {}  # by uid

    def set(self, uid: str, route: WorkloadRoute | None) -> None:
        """What of the workload serves now. An address belongs to the last workload that has it: a name is given anew
        only after the one before is gone."""
        before = self._addresses.pop(uid, None)
        if before is not None and self._routes[before][0] == uid:
            del self._routes[before]
        if route is not None:
            self._routes[route.key] = (uid, route)
            self._addresses[uid] = route.key

    def of(self, uid: str) -> WorkloadRoute | None:
        owner, route = self._routes.get(self._addresses.get(uid, ""), ("", None))
        return route if owner == uid else None

    def uids(self) -> frozenset[str]:
        return frozenset(self._addresses)

    def routes(self) -> tuple[WorkloadRoute, ...]:
        return tuple(route for _, route in self._routes.values())


class Routes:
    """Reads the picture, or the part of it that changed, and hands it on; the data plane finds out what changed.

    One at a time, and each reads once it has its turn, so that an older picture never replaces a newer one."""

    def __init__(self, store: Store, clock: Clock, keys: KeyRing, xds: XdsServer) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._xds = xds
        self._turn = asyncio.Lock()
        self._picture: Picture | None = None
        self.version = 0  # of what was published last
        self._changed: set[str] = set()  # uids of those that are to be read
        self._revoked: frozenset[str] = frozenset()
        self._linked: frozenset[IPv4Network] = frozenset()
        self._workspaces: frozenset[str] = frozenset()

    def tells(self, workload: Workload) -> bool:
        """Whether the gateway was told what serves of it."""
        return self._picture is not None and self._picture.of(workload.resource.uid) == _route_here(
            workload, self._linked, self._workspaces
        )

    def uids(self) -> frozenset[str]:
        """The workloads of which something serves, as far as the gateway was told."""
        return frozenset() if self._picture is None else self._picture.uids()

    async def publish(self) -> int:
        """Publish the present state, all of it read anew; returns the version to wait for with
        `XdsServer.acknowledged`."""
        async with self._turn:
            return await self._publish_all()

    async def publish_one(self, uid: str) -> int:
        """The same when only this workload has changed since: it alone is read, and those that wait for the same. One
        that is gone has no route."""
        self._changed.add(uid)
        async with self._turn:
            if self._picture is None:
                return await self._publish_all()
            if uid in self._changed:  # else whoever had the turn has read it meanwhile
                await self._publish_changed(self._picture)
            return self.version

    async def publish_keys(self) -> bool:
        """Publish other revoked keys, and everything where the networks have changed; whether anything has since the
        gateway was told last."""
        linked, revoked = linked_networks(), await self._store.read(self._revoked_now)
        if linked == self._linked and revoked == self._revoked:
            return False
        async with self._turn:
            if self._picture is None or linked != self._linked:
                await self._publish_all()
            else:
                self._hand_on(self._picture, await self._store.read(self._revoked_now))
        return True

    async def _publish_all(self) -> int:
        changed, self._changed = self._changed, set()
        linked = linked_networks()
        try:
            workloads, revoked, workspaces = await self._store.read(
                lambda tx: (read_workloads(tx), self._revoked_now(tx), _workspaces(tx))
            )
        except BaseException:
            self._changed |= changed
            raise
        picture = Picture()
        for one in workloads:
            picture.set(one.resource.uid, _route_here(one, linked, workspaces))
        self._picture, self._linked, self._workspaces = picture, linked, workspaces
        return self._hand_on(picture, revoked)

    async def _publish_changed(self, picture: Picture) -> None:
        changed, self._changed = self._changed, set()
        linked = linked_networks()
        try:
            workloads, workspaces = await self._store.read(lambda tx: (_read(tx, changed), _workspaces(tx)))
        except BaseException:
            self._changed |= changed
            raise
        if workspaces != self._workspaces:  # a host name may have become another's
            await self._publish_all()
            return
        found = {one.resource.uid: one for one in workloads}
        for uid in changed:
            picture.set(uid, _route_here(found[uid], linked, workspaces) if uid in found else None)
        self._hand_on(picture, self._revoked)

    def _hand_on(self, picture: Picture, revoked: frozenset[str]) -> int:
        gateway = Gateway(routes=picture.routes(), jwks=self._keys.public_jwks(), revoked=revoked)
        self.version = self._xds.publish(gateway)
        self._revoked = revoked
        return self.version

    def _revoked_now(self, tx: Transaction) -> frozenset[str]:
        """Also those that expired a while ago: the gateway allows for some skew of clocks, and a clock that is set back
        makes an expired key valid again."""
        return frozenset(tx.identities.revoked_keys(self._clock.now() - timedelta(seconds=SKEW_S)))


def _read(tx: Transaction, uids: Iterable[str]) -> list[Workload]:
    found = (tx.resources.by_uid(uid) for uid in uids)
    return read_each([one for one in found if one is not None and one.kind in SERVING], tx)


def _workspaces(tx: Transaction) -> frozenset[str]:
    return frozenset(known.name for known in tx.identities.workspaces())


def _route_here(one: Workload, linked: frozenset[IPv4Network], workspaces: frozenset[str]) -> WorkloadRoute | None:
    """Of replicas in containers, those whose network is there: another host might have their address else."""
    here = [known for known in one.replicas if _is_here(known, linked)]
    return route_of(one.resource, one.revisions, here, workspaces)


def route_of(
    found: Resource, revisions: Iterable[Revision], replicas: Iterable[Replica], workspaces: Collection[str] = ()
) -> WorkloadRoute | None:
    """The workload's addresses, or None while nothing of it serves. Its traffic says who has which share; replicas of
    other revisions appear only while they finish their requests. `workspaces` are all that there are."""
    split = found.traffic.served
    if found.deleting or found.spec.get("enabled") is False or split.active is None:
        return None
    revisions = [*revisions]
    states = {known.id: known.state for known in revisions}
    in_containers = {known.id for known in revisions if known.region != LOCAL}
    endpoints: dict[RevisionId, list[Endpoint]] = defaultdict(list, {serving: [] for serving in split.revisions})
    for replica in replicas:
        if _routed(replica, states):
            draining = replica.state is ReplicaState.DRAINING or replica.revision_id not in split.revisions
            address, port = replica.endpoint
            endpoints[replica.revision_id].append(Endpoint(address=address, port=port, draining=draining))
    shares = tuple(
        RevisionRoute(
            revision=revision,
            weight=split.share_of(revision),
            endpoints=tuple(at),
            in_containers=revision in in_containers,
        )
        for revision, at in sorted(endpoints.items())
    )
    addresses = stored_addresses(found.kind, found.name, found.spec, found.labels)
    return WorkloadRoute(
        workspace=found.workspace,
        kind=found.kind,
        name=found.name,
        revisions=shares,
        public=addresses.public,
        stickiness=addresses.stickiness,
        timeout_s=addresses.timeout_s,
        retries=addresses.retries,
        paths=addresses.paths,
        host=host_label(found.kind, found.name, found.workspace, workspaces),
    )


def _is_here(replica: Replica, linked: frozenset[IPv4Network]) -> bool:
    in_container_here = bool(replica.address) and ":" not in replica.address
    return not in_container_here or is_linked(replica.address, linked)


def _routed(replica: Replica, states: dict[RevisionId, RevisionState]) -> bool:
    """One that was switched away from a moment ago stays known, so that its requests are still counted."""
    if replica.state is ReplicaState.DRAINING:
        return True
    served = states.get(replica.revision_id) in (RevisionState.SERVING, RevisionState.SUPERSEDED)
    return replica.state is ReplicaState.READY and served
