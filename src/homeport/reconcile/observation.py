"""What the rollouts see in one pass: the store's rows beside what the driver says of their units."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from homeport.build.bundle import find_bundle
from homeport.core.clock import Clock
from homeport.core.errors import Invalid
from homeport.core.ids import SERVING, Kind, ReplicaId, UnitId
from homeport.core.limits import REVISIONS_MOST
from homeport.core.units import UnitStatus
from homeport.core.volumes import is_shared, stored_persistent
from homeport.drivers.contract import Driver
from homeport.store.contract import Transaction
from homeport.store.records import Replica, Resource, Revision
from homeport.workloads.settings import ServingSettings
from homeport.workloads.states import SETTLED, ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.views import ReplicaView, ResourceView, RevisionView


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a unit listens: `reached`, so that others reach it, and `inside`, so that none does."""

    reached: frozenset[int] = frozenset()
    inside: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload with its revisions and replicas as the store has them. `shared`: the volumes of its own to which
    several replicas may write."""

    resource: Resource
    revisions: list[Revision]
    replicas: list[Replica]
    shared: frozenset[str] = frozenset()

    def revision(self, revision_id: str) -> Revision:
        return next(known for known in self.revisions if known.id == revision_id)

    def revision_mounts(self, revision_id: str) -> bool:
        """Whether it has volumes that outlive it."""
        return any(known.id == revision_id and stored_persistent(known.spec) for known in self.revisions)

    def replica(self, replica_id: str) -> Replica:
        return next(known for known in self.replicas if known.id == replica_id)


def read_workload(resource: Resource, tx: Transaction) -> Workload:
    return read_each([resource], tx)[0]


# A revision in one of these waits for its turn or has it; in one of the others besides, its replicas may need tending.
_PENDING = (RevisionState.BUILT, RevisionState.STARTING)
_LIVE = (*_PENDING, RevisionState.SERVING)
# A replica in one of these has somewhere to go.
_ON_ITS_WAY = (ReplicaState.STARTING, ReplicaState.BACKOFF, ReplicaState.DRAINING)


def read_moving(tx: Transaction) -> list[Workload]:
    """The workloads that serve and on which the store itself says that something is under way. That a program which
    served has ended, it does not say."""
    return read_each(_unsettled(tx, _PENDING, _ON_ITS_WAY), tx)


def read_workloads(tx: Transaction) -> list[Workload]:
    """Every workload that serves and is not at rest, those that go away included."""
    return read_each(unsettled_serving(tx), tx)


def unsettled_serving(tx: Transaction) -> list[Resource]:
    """What `read_workloads` reads, without what belongs to each."""
    return _unsettled(tx, _LIVE, ReplicaState)


def _unsettled(tx: Transaction, states: Iterable[RevisionState], of: Iterable[ReplicaState]) -> list[Resource]:
    return [one for kind in SERVING for one in tx.resources.unsettled(kind, states, of, REVISIONS_MOST)]


def read_each(found: Sequence[Resource], tx: Transaction) -> list[Workload]:
    """These workloads, with all that belongs to each."""
    uids = [one.uid for one in found]
    revisions, replicas = tx.revisions.of_each(uids), tx.replicas.of_each(uids)
    return [
        Workload(
            resource=one,
            revisions=revisions[one.uid],
            replicas=replicas[one.uid],
            shared=_shared(tx, one.workspace, revisions[one.uid]),
        )
        for one in found
    ]


def _shared(tx: Transaction, workspace: str, revisions: Iterable[Revision]) -> frozenset[str]:
    """Few workloads have volumes: what others have is not asked for."""
    names = {one.name for revision in revisions for one in stored_persistent(revision.spec)}
    found = {name: tx.resources.get(workspace, Kind.VOLUME, name) for name in names}
    return frozenset(name for name, volume in found.items() if volume is not None and is_shared(volume.labels))


def with_status(resource: Resource, status: WorkloadStatus) -> Resource:
    """The resource with the status that was found. A status that settles its generation says that this was seen."""
    observed = resource.generation if status in SETTLED else resource.observed_generation
    return replace(resource, status=status, observed_generation=observed)


def view_resource(resource: Resource) -> ResourceView:
    enabled = resource.spec.get("enabled") is not False
    return ResourceView(
        generation=resource.generation, traffic=resource.traffic, enabled=enabled, deleting=resource.deleting
    )


class Manifests:
    """The `[runtime]` of bundles' manifests. Bundles never change, so each is read once."""

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self._known: dict[str, Mapping[str, Any]] = {}

    def runtime_of(self, revision: Revision) -> Mapping[str, Any]:
        """Empty before the bundle is there, and after it is gone: whoever starts a program says so."""
        digest = revision.bundle_digest
        if digest is None:
            return {}
        if digest not in self._known:
            bundle = find_bundle(self._bundles, digest)
            if bundle is None:
                return {}
            self._known[digest] = bundle.manifest.runtime
        return self._known[digest]

    def keep(self, digests: Collection[str | None]) -> None:
        """Forget the bundles that are not among these, which revisions name."""
        self._known = {digest: runtime for digest, runtime in self._known.items() if digest in digests}


class Ages:
    """How long each replica has been in its state, as far as waits go, by the clock that never steps: a jump of the
    wall clock neither ends a wait nor prolongs one. Kept in memory; a new server believes the wall clock once, except
    that it gives a program that starts all its time anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[ReplicaId, tuple[Replica, float]] = {}

    def dated(self, replica: Replica) -> Replica:
        """The replica with the moments of its last changes as the wall clock of now would have had them."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        known, began = self._since.get(replica.id, (None, 0.0))
        if known is None or (known.state, known.unit, known.changed_at) != _change(replica):
            age_s = 0.0 if replica.state is ReplicaState.STARTING else (now - replica.changed_at).total_seconds()
            began = monotonic - max(0.0, age_s)
            self._since[replica.id] = (replica, began)
        changed_at = now - timedelta(seconds=monotonic - began)
        ready_at = replica.ready_at and replica.ready_at + (changed_at - replica.changed_at)
        return replace(replica, changed_at=changed_at, ready_at=ready_at)

    def keep(self, present: Iterable[ReplicaId]) -> None:
        """Forget those that are not among `present`, which is every replica of every workload."""
        kept = {*present}
        self._since = {ident: since for ident, since in self._since.items() if ident in kept}


def _change(replica: Replica) -> tuple[ReplicaState, UnitId, datetime]:
    return replica.state, replica.unit, replica.changed_at


def place_of(revision: Revision) -> RevisionView:
    """What the decisions about revisions look at: no settings, which only replicas need."""
    unserved = revision.state is RevisionState.SUPERSEDED and revision.message != ""
    return RevisionView(
        id=revision.id,
        generation=revision.generation,
        state=revision.state,
        built=revision.bundle_digest is not None,
        served=not unserved,
    )


def view_revision(
    resource: Resource, revision: Revision, runtime: Mapping[str, Any], shared: Collection[str] = ()
) -> RevisionView:
    """`runtime` is what the manifest of its bundle says. How many replicas run is its workload's to say, now. Where
    the two contradict each other, the start of its program fails and says how; until then the specification counts."""
    try:
        settings = ServingSettings.from_spec(resource.spec, runtime)
    except Invalid:
        settings = ServingSettings.from_spec(resource.spec)
    mounted = stored_persistent(revision.spec)
    return replace(
        place_of(revision),
        min_scale=settings.min_scale,
        volumes=frozenset(one.name for one in mounted),
        alone=frozenset(one.name for one in mounted if not one.read_only and one.name not in shared),
    )


def view_replicas(
    replicas: Iterable[Replica],
    units: Mapping[UnitId, UnitStatus],
    ports: Mapping[ReplicaId, Ports],
    idle: Collection[ReplicaId],
) -> list[ReplicaView]:
    """Each replica with its unit's state. `ports` are those on which it listens, `idle` those without a request; both
    hold the replicas of which that is known."""
    views = []
    for replica in replicas:
        status = units.get(replica.unit)
        views.append(
            ReplicaView(
                id=replica.id,
                revision_id=replica.revision_id,
                ordinal=replica.ordinal,
                state=replica.state,
                changed_at=replica.changed_at,
                ready_at=replica.ready_at,
                restarts=replica.restarts,
                alive=status is not None and status.state.alive,
                port=replica.port,
                listening=replica.port in ports.get(replica.id, Ports()).reached,
                elsewhere=tuple(sorted(ports.get(replica.id, Ports()).reached - {replica.port})),
                inside=tuple(sorted(ports.get(replica.id, Ports()).inside)),
                idle=replica.id in idle,
                message=_ending(status) or replica.message,
            )
        )
    return views


def without_unit(workload: Workload, units: Mapping[UnitId, UnitStatus]) -> list[Replica]:
    """The replicas that shall run and whose units were stopped with the system or are unknown. The others that have
    none are on their way out, or wait for their next start."""
    view = view_resource(workload.resource)
    if view.deleting or not view.enabled:
        return []
    to_run = {revision.id for revision in workload.revisions if revision.state in _LIVE}
    found = []
    for replica in workload.replicas:
        status = units.get(replica.unit)
        stopped = status is not None and status.outcome is not None and status.outcome.stopped
        wanted = replica.state in (ReplicaState.STARTING, ReplicaState.READY) and replica.revision_id in to_run
        if wanted and (status is None or stopped):
            found.append(replica)
    return found


async def listening_ports(driver: Driver, replicas: Iterable[Replica]) -> dict[ReplicaId, Ports]:
    """Where the starting ones listen now. Only those are asked for: it is work for the node."""
    starting = [replica for replica in replicas if replica.state is ReplicaState.STARTING]
    return {
        replica.id: Ports(await driver.listening(replica.unit), await driver.listening_inside(replica.unit))
        for replica in starting
    }


def _ending(status: UnitStatus | None) -> str:
    """How the unit ended, in words; empty while it lives."""
    outcome = status.outcome if status else None
    if outcome is None:
        return ""
    if outcome.out_of_memory:
        return "out of memory"
    if outcome.signal is not None:
        why = outcome.reason if ": " in outcome.reason or "; " in outcome.reason else ""
        return why or f"killed by signal {outcome.signal}"
    return outcome.reason or f"exit code {outcome.exit_code}"
