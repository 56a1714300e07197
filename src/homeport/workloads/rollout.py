"""The rollout: what to do next so that what is wanted is served, without a moment in which nothing is.

A step is a function of what is desired, what was seen and `now`; the reconcile loop calls it on every pass, carries
out the actions, and asks again. It remembers nothing, so a loop that died continues where the store says. Blue-green:
what serves keeps its replicas until every wanted replica of every revision that takes a new part is ready; then all
parts change at once. It knows no scaling, which will be a further function of the same views.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from homeport.core.ids import RevisionId
from homeport.core.limits import DRAIN_TIMEOUT_S, REVISIONS_KEPT, START_TIMEOUT_S
from homeport.workloads.actions import (
    Action,
    BackOff,
    BeginStart,
    DeleteRevision,
    DrainReplica,
    Fail,
    MarkReady,
    NoteReplica,
    RemoveResource,
    RestartReplica,
    Serve,
    StartReplica,
    StopReplica,
    Supersede,
)
from homeport.workloads.exclusive import blocked, gives_way, rivals
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.steering import unavailable
from homeport.workloads.traffic import NO_TRAFFIC, Traffic
from homeport.workloads.views import ReplicaView, ResourceView, RevisionView

START_ATTEMPTS = 3  # a program that ended three times without ever serving will not serve; its log says why
BACKOFF_BASE_S = 1.0
BACKOFF_CAP_S = 60.0  # a program whose database was down for an hour is back within a minute
WRONG_PORT_S = 10  # listening elsewhere for so long is told; some programs open a port for something else first
STABLE_S = 600  # one that was ready this long before it ended starts its count of restarts anew

PASSED_OVER = "another revision took its turn"  # the message of a superseded revision that never served
NOT_BUILT = "since it was not built"  # why an order is given up for a revision of which it is known already

_PENDING = (RevisionState.BUILT, RevisionState.STARTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """What to do now, and when to look again at the latest if nothing changes before (None: no need). After a step
    with actions the caller asks again at once."""

    actions: tuple[Action, ...]
    next_at: datetime | None

    @property
    def settled(self) -> bool:
        """Nothing to do and nothing to wait for."""
        return not self.actions and self.next_at is None


def step(
    resource: ResourceView,
    revisions: Sequence[RevisionView],
    replicas: Sequence[ReplicaView],
    now: datetime,
) -> RolloutStep:
    """The next actions for one workload. Actions of one step do not depend on each other's results."""
    if resource.deleting or not resource.enabled:
        return _wind_down(resource, replicas, now)
    plan = _Plan(resource.traffic, revisions, replicas, now)
    if not plan.switch():  # else what serves now may be about to go
        for revision in plan.current:
            plan.tend(revision)
    plan.retire_the_rest()
    for revision_id in surplus_revisions(revisions, {replica.revision_id for replica in replicas}, resource.traffic):
        plan.actions.append(DeleteRevision(revision_id=revision_id, reason=f"only {REVISIONS_KEPT} revisions are kept"))
    return RolloutStep(actions=tuple(plan.actions), next_at=min(plan.moments, default=None))


class _Plan:
    """One step under construction. `serving` have a part now; `coming` are started to have one."""

    def __init__(
        self, traffic: Traffic, revisions: Sequence[RevisionView], replicas: Sequence[ReplicaView], now: datetime
    ) -> None:
        self.traffic = traffic
        self.revisions = {revision.id: revision for revision in revisions}
        self.replicas = replicas
        self.now = now
        self.actions: list[Action] = []
        self.moments: list[datetime] = []
        served, wanted = traffic.served.revisions, traffic.wanted.revisions
        self.serving = [revision for revision in revisions if revision.id in served]
        pending = [revision for revision in revisions if revision.state in _PENDING and revision.id not in served]
        self.coming = [revision for revision in pending if revision.id in wanted]
        self.passed_over = [revision for revision in pending if revision.id not in wanted]
        self.failing: set[RevisionId] = set()

    @property
    def current(self) -> list[RevisionView]:
        """Those that shall have replicas now: all but what gives way to one that must be alone with a volume."""
        return [*self.coming, *(one for one in self.serving if gives_way(one, self.coming) is None)]

    def of(self, revision: RevisionView) -> list[ReplicaView]:
        """The revision's replicas that are not on their way out."""
        return [
            one for one in self.replicas if one.revision_id == revision.id and one.state is not ReplicaState.DRAINING
        ]

    def tend(self, revision: RevisionView) -> None:
        """Keep the wanted number of replicas of `revision` running."""
        mine = self.of(revision)
        for replica in mine:
            self._observe(replica)
        taken = {replica.ordinal for replica in self.replicas if replica.revision_id == revision.id}
        wanted = revision.replicas_wanted
        spare = [ordinal for ordinal in range(wanted + len(taken)) if ordinal not in taken]
        if self._blocked(revision):
            return
        for ordinal in spare[: max(0, wanted - len(mine))]:
            reason = f"revision {revision.id} wants {wanted}, has {len(mine)}"
            self.actions.append(StartReplica(revision_id=revision.id, ordinal=ordinal, reason=reason))

    def _blocked(self, revision: RevisionView | None, itself: str = "") -> bool:
        """Whether a start has to wait for the end of another replica, of which word comes as soon as it is there."""
        if revision is None:
            return False
        begun = (self.revisions.get(one.revision_id) for one in self.actions if isinstance(one, StartReplica))
        if any(other is not None and rivals(revision, other) for other in begun):
            return True
        return blocked(revision, self.revisions.values(), self.replicas, itself)

    def switch(self) -> bool:
        """Let what is wanted be served once it answers, or give it up. Whether either is done in this step."""
        if not self.traffic.under_way:
            return False
        required = [self.revisions.get(one) for one in self.traffic.required]
        if lost := unavailable(self.traffic, [*self.revisions.values()]):
            self.actions.append(Fail(revision_id=lost[0], reason=NOT_BUILT))  # another in the next step
            return True
        if all(revision is not None and self._answers(revision) for revision in required):
            wanted = self.traffic.wanted
            old = tuple(one.id for one in self.serving if one.id not in wanted.revisions)
            self.actions.append(Serve(split=wanted, superseded=old, reason=self._why(required)))
            return True
        for revision in filter(None, required):
            if why := next((why for one in self.of(revision) if (why := self._hopeless(one))), ""):
                if revision in self.coming:
                    self.failing.add(revision.id)
                    self.coming.remove(revision)
                self.actions.append(Fail(revision_id=revision.id, reason=why))
                return False
        for revision in self.coming:
            if revision.state is RevisionState.BUILT:
                self.actions.append(BeginStart(revision_id=revision.id, reason="its bundle is there"))
        return False

    def _answers(self, revision: RevisionView) -> bool:
        """Whether as many of its replicas are ready as are wanted."""
        begun = revision.state in (RevisionState.STARTING, RevisionState.SERVING)
        ready = [replica for replica in self.of(revision) if _is_ready(replica)]
        return begun and len(ready) >= revision.replicas_wanted

    def _why(self, required: Sequence[RevisionView | None]) -> str:
        wanted = sum(revision.replicas_wanted for revision in required if revision)
        ready = sum(_is_ready(replica) for revision in required if revision for replica in self.of(revision))
        return f"{ready} of {wanted} replicas are ready" if wanted else "nothing has to start for it"

    def retire_the_rest(self) -> None:
        """Take away replicas of revisions that neither serve nor start, and those above the wanted number."""
        kept = {
            replica.id for revision in self.current for replica in _best(self.of(revision), revision.replicas_wanted)
        }
        for replica in self.replicas:
            if replica.id not in kept or replica.revision_id in self.failing:
                self._retire(replica, self._why_retired(replica))
        for revision in self.passed_over:
            self.actions.append(Supersede(revision_id=revision.id, reason=PASSED_OVER))

    def _why_retired(self, replica: ReplicaView) -> str:
        revision = next((one for one in self.serving if one.id == replica.revision_id), None)
        if revision is None:
            return f"{replica.revision_id} is not to serve"
        if (other := gives_way(revision, self.coming)) is not None:
            both = ", ".join(sorted(revision.volumes & other.volumes))
            return f"{other.id} starts once it has ended, since both have the volume {both}"
        return "more than its revision wants"

    def _retire(self, replica: ReplicaView, reason: str) -> None:
        for action in retire(replica, self.now, reason, self.moments):
            # It may have been tended before it turned out to be one too many: then only its end counts.
            self.actions = [one for one in self.actions if getattr(one, "replica_id", None) != replica.id]
            self.actions.append(action)

    def _observe(self, replica: ReplicaView) -> None:
        """What a replica that shall run needs: to be marked ready, to wait after it ended, to be started again."""
        if replica.state is ReplicaState.BACKOFF:
            self._restart_when_due(replica)
        elif not replica.alive:
            self.actions.append(self._back_off(replica, replica.message or "its process ended"))
        elif replica.state is ReplicaState.STARTING:
            self._await_start(replica)

    def _await_start(self, replica: ReplicaView) -> None:
        if replica.listening:
            self.actions.append(MarkReady(replica_id=replica.id, reason="it listens on its port"))
            return
        deadline = replica.changed_at + timedelta(seconds=START_TIMEOUT_S)
        if self.now >= deadline:
            self.actions.append(self._back_off(replica, _late(replica)))
            return
        self.moments.append(deadline)
        told_at = replica.changed_at + timedelta(seconds=WRONG_PORT_S)
        astray = replica.elsewhere or replica.inside
        if astray and self.now < told_at:
            self.moments.append(told_at)
        elif astray and replica.message != _wrong_port(replica):
            self.actions.append(NoteReplica(replica_id=replica.id, reason=_wrong_port(replica)))

    def _back_off(self, replica: ReplicaView, reason: str) -> BackOff:
        steady = (
            replica.state is ReplicaState.READY
            and replica.ready_at is not None
            and self.now - replica.ready_at >= timedelta(seconds=STABLE_S)
        )
        return BackOff(replica_id=replica.id, restarts=1 if steady else replica.restarts + 1, reason=reason)

    def _restart_when_due(self, replica: ReplicaView) -> None:
        due = replica.changed_at + timedelta(seconds=restart_wait_s(replica.restarts))
        if self.now >= due and self._blocked(self.revisions.get(replica.revision_id), replica.id):
            self.moments.append(self.now + timedelta(seconds=BACKOFF_BASE_S))
        elif self.now >= due:
            self.actions.append(RestartReplica(replica_id=replica.id, reason=f"start {replica.restarts + 1}"))
        else:
            self.moments.append(due)

    def _hopeless(self, replica: ReplicaView) -> str:
        """Why a revision that shall take a new part is given up on account of this replica; empty if it is not."""
        if _is_ready(replica):
            return ""
        deadline = replica.changed_at + timedelta(seconds=START_TIMEOUT_S)
        late = replica.state is ReplicaState.STARTING and self.now >= deadline
        if late and replica.alive and not replica.listening:
            return _late(replica)
        ended = replica.restarts + (0 if replica.alive or replica.state is ReplicaState.BACKOFF else 1)
        if ended >= START_ATTEMPTS:
            how = f": {replica.message}" if replica.message else ""
            return f"its program ended {ended} times before it could serve{how}"
        return ""


def _late(replica: ReplicaView) -> str:
    late = f"its program did not listen on its port within {START_TIMEOUT_S} s"
    return f"{late}: {_wrong_port(replica)}"


def _wrong_port(replica: ReplicaView) -> str:
    ports = " and ".join(str(port) for port in replica.elsewhere or replica.inside)
    if replica.inside and not replica.elsewhere:
        where = "of its container's own loopback, where nobody reaches it"
        return f"it listens on {ports} {where}, not on $HOST (0.0.0.0) and $PORT ({replica.port})"
    return f"it listens on {ports or 'none'}, not on $PORT ({replica.port})"


def retire(replica: ReplicaView, now: datetime, reason: str, moments: list[datetime]) -> list[Action]:
    """How a replica goes: ready ones drain first, draining ones stop when idle or late, others stop at once. Appends
    to `moments` when to look again."""
    if replica.state is ReplicaState.READY and replica.alive:
        return [DrainReplica(replica_id=replica.id, reason=reason)]
    if replica.state is ReplicaState.DRAINING and replica.alive and not replica.idle:
        deadline = replica.changed_at + timedelta(seconds=DRAIN_TIMEOUT_S)
        if now < deadline:
            moments.append(deadline)
            return []
        reason = f"its requests did not end within {DRAIN_TIMEOUT_S} s"
    return [StopReplica(replica_id=replica.id, reason=reason)]


def restart_wait_s(restarts: int) -> float:
    """Seconds between the end of a replica and its next start: 1, 2, 4, … up to 60."""
    return min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(max(restarts, 1) - 1, 30))


def surplus_revisions(
    revisions: Sequence[RevisionView],
    in_use: Iterable[RevisionId] = (),
    traffic: Traffic = NO_TRAFFIC,
    keep: int = REVISIONS_KEPT,
) -> tuple[RevisionId, ...]:
    """The revisions to delete, oldest first. Kept are the newest `keep`, whatever became of them, and the newest `keep`
    of those that can serve, so that failed ones push none of these out; and always one that `traffic` names, that is
    being built or started, or that is `in_use`: has replicas, or executions. Serves jobs too."""
    busy = (RevisionState.SERVING, RevisionState.BUILDING, RevisionState.STARTING)
    newest_first = sorted(revisions, key=lambda revision: revision.generation, reverse=True)
    counted = [*newest_first[:keep], *[one for one in newest_first if one.built][:keep]]
    kept = {*in_use, *traffic.named, *(one.id for one in counted), *(one.id for one in revisions if one.state in busy)}
    return tuple(one.id for one in reversed(newest_first) if one.id not in kept)


def status_of(
    resource: ResourceView,
    revisions: Sequence[RevisionView],
    replicas: Sequence[ReplicaView],
) -> WorkloadStatus:
    """The contract's status of a workload that serves requests."""
    if resource.deleting:
        return WorkloadStatus.DELETING
    if not resource.enabled:
        return WorkloadStatus.DEACTIVATING if replicas else WorkloadStatus.DEACTIVATED
    status = rollout_status(resource, revisions)
    if status is not WorkloadStatus.DEPLOYED:
        return status
    active = resource.traffic.served.active
    answers = any(replica.revision_id == active and replica.state is ReplicaState.READY for replica in replicas)
    return WorkloadStatus.DEPLOYED if answers else WorkloadStatus.DEPLOYING


def rollout_status(resource: ResourceView, revisions: Sequence[RevisionView]) -> WorkloadStatus:
    """The status as far as revisions tell it, which is all of a job: DEPLOYED once what is wanted is served."""
    traffic = resource.traffic
    states = {one.id: one.state for one in revisions if one.id in traffic.wanted.revisions}
    # That of this very order counts, also one that is only to be kept.
    states |= {one.id: one.state for one in revisions if one.generation == resource.generation}
    awaited = {*states.values()}
    if RevisionState.UPLOADING in awaited:
        return WorkloadStatus.UPLOADING
    if RevisionState.BUILDING in awaited:
        return WorkloadStatus.BUILDING
    if traffic.failed is not None or RevisionState.FAILED in awaited:
        return WorkloadStatus.FAILED
    if traffic.under_way:
        return WorkloadStatus.DEPLOYING
    if traffic.served.active is not None:
        return WorkloadStatus.DEPLOYED
    return WorkloadStatus.BUILT if revisions else WorkloadStatus.DEPLOYING


def _wind_down(resource: ResourceView, replicas: Sequence[ReplicaView], now: datetime) -> RolloutStep:
    reason = "the workload is being deleted" if resource.deleting else "the workload is disabled"
    moments: list[datetime] = []
    actions = [action for replica in replicas for action in retire(replica, now, reason, moments)]
    if resource.deleting and not replicas:
        actions.append(RemoveResource(reason="nothing of it runs any more"))
    return RolloutStep(actions=tuple(actions), next_at=min(moments, default=None))


def _best(replicas: Sequence[ReplicaView], wanted: int) -> list[ReplicaView]:
    """The `wanted` replicas most worth keeping: ready ones first, then those that live, then by ordinal."""
    return sorted(replicas, key=lambda one: (not _is_ready(one), not one.alive, one.ordinal))[:wanted]


def _is_ready(replica: ReplicaView) -> bool:
    return replica.state is ReplicaState.READY and replica.alive
