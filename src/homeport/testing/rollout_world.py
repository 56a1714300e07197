"""A world for the rollout's step, in memory: it carries out actions as the reconcile loop does, lets time and good
programs go on, and checks what holds for every step. For tests of the decisions, which need no loop."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from homeport.core.ids import ReplicaId, RevisionId
from homeport.workloads.actions import (
    Action,
    BackOff,
    BeginStart,
    DeleteRevision,
    DrainReplica,
    Fail,
    MarkReady,
    RemoveResource,
    RestartReplica,
    Serve,
    StartReplica,
    StopReplica,
    Supersede,
)
from homeport.workloads.rollout import step
from homeport.workloads.states import ReplicaState, RevisionState
from homeport.workloads.steering import startable
from homeport.workloads.traffic import Split
from homeport.workloads.views import ReplicaView, ResourceView, RevisionView

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """`good` are the revisions whose programs listen; those of the others end as they start."""

    now: datetime = BEGIN
    resource: ResourceView = field(default_factory=lambda: ResourceView(generation=0))
    revisions: dict[RevisionId, RevisionView] = field(default_factory=dict)
    replicas: dict[ReplicaId, ReplicaView] = field(default_factory=dict)
    good: set[RevisionId] = field(default_factory=set)
    removed: bool = False
    made: int = 0

    def order(self, wanted: Split) -> None:
        """Ask for this split; what is built and at rest is to start again."""
        self.resource = replace(self.resource, traffic=self.resource.traffic.asked(wanted))
        for one in startable(self.resource.traffic, [*self.revisions.values()]):
            self._revision(one.id, RevisionState.BUILT)

    def step(self) -> bool:
        """One pass; whether anything was done. Checks the promise on the way."""
        found = step(self.resource, [*self.revisions.values()], [*self.replicas.values()], self.now)
        for action in found.actions:
            self.check_before(action)
            self.apply(action)
        return bool(found.actions)

    def settle(self, passes: int = 400) -> None:
        """Run passes, letting time and good programs go on, until nothing is left to do or to wait for."""
        for _ in range(passes):
            while self.step():
                pass
            found = step(self.resource, [*self.revisions.values()], [*self.replicas.values()], self.now)
            if found.settled and not any(one.state is ReplicaState.STARTING for one in self.replicas.values()):
                return
            self.now += timedelta(seconds=5)
            for name, replica in self.replicas.items():
                if replica.state is ReplicaState.STARTING and replica.alive:
                    works = replica.revision_id in self.good
                    self.replicas[name] = replace(replica, listening=works, alive=works)
        raise AssertionError("the rollout did not converge")

    def check_before(self, action: Action) -> None:
        if not isinstance(action, DrainReplica | StopReplica) or not self.resource.enabled or self.resource.deleting:
            return
        target = self.replicas[action.replica_id]
        revision = self.revisions.get(target.revision_id)
        if revision is None or revision.state is not RevisionState.SERVING or not is_up(target):
            return
        rest = [one for one in self.replicas.values() if is_up(one) and one.id != target.id]
        assert any(one.revision_id == revision.id for one in rest), "the last ready replica in service was taken"

    def apply(self, action: Action) -> None:
        match action:
            case BeginStart():
                self._revision(action.revision_id, RevisionState.STARTING)
            case Serve():
                self._serve(action)
            case Supersede():
                self._revision(action.revision_id, RevisionState.SUPERSEDED)
            case Fail():
                traffic = self.resource.traffic.given_up(action.revision_id)
                self.resource = replace(self.resource, traffic=traffic)
                if action.revision_id not in traffic.served.revisions:
                    self._revision(action.revision_id, RevisionState.FAILED)
            case DeleteRevision():
                assert action.revision_id not in self.resource.traffic.named
                assert self.revisions.pop(action.revision_id).state is not RevisionState.SERVING
            case RemoveResource():
                assert not self.replicas
                self.removed = True
                self.revisions.clear()
                self.resource = replace(self.resource, deleting=False, generation=0)
            case StartReplica():
                self._start(action)
            case StopReplica():
                del self.replicas[action.replica_id]
            case MarkReady() | BackOff() | RestartReplica() | DrainReplica():
                self._replica(action)

    def _serve(self, action: Serve) -> None:
        assert action.split == self.resource.traffic.wanted
        for name in self.resource.traffic.required:
            ready = [one for one in self.replicas.values() if one.revision_id == name and is_up(one)]
            assert ready, "a revision without a ready replica was to serve"
        for name in action.split.revisions:
            self._revision(name, RevisionState.SERVING)
        for old in action.superseded:
            self._revision(old, RevisionState.SUPERSEDED)
        self.resource = replace(self.resource, traffic=self.resource.traffic.switched())

    def _start(self, action: StartReplica) -> None:
        mine = [one for one in self.replicas.values() if one.revision_id == action.revision_id]
        assert action.ordinal not in {one.ordinal for one in mine}, "an ordinal was given twice"
        self.made += 1
        name = ReplicaId(f"p{self.made}")
        self.replicas[name] = ReplicaView(
            id=name,
            revision_id=action.revision_id,
            ordinal=action.ordinal,
            state=ReplicaState.STARTING,
            changed_at=self.now,
        )

    def _replica(self, action: MarkReady | BackOff | RestartReplica | DrainReplica) -> None:
        old = self.replicas[action.replica_id]
        match action:
            case MarkReady():
                new = replace(old, state=ReplicaState.READY, ready_at=self.now)
            case BackOff():
                new = replace(old, state=ReplicaState.BACKOFF, restarts=action.restarts, listening=False, alive=False)
            case RestartReplica():
                new = replace(old, state=ReplicaState.STARTING, alive=True, listening=False)
            case DrainReplica():
                new = replace(old, state=ReplicaState.DRAINING)
        self.replicas[action.replica_id] = replace(new, changed_at=self.now)

    def _revision(self, name: RevisionId, state: RevisionState) -> None:
        self.revisions[name] = replace(self.revisions[name], state=state)


def is_up(replica: ReplicaView) -> bool:
    return replica.state is ReplicaState.READY and replica.alive
