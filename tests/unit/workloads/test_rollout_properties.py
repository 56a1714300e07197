"""The rollout against a world that misbehaves: replicas start late, crash, hang; revisions come at any time."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

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
from homeport.workloads.rollout import START_ATTEMPTS, status_of, step
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split
from homeport.workloads.views import ReplicaView, ResourceView, RevisionView

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """Carries out actions as the reconcile loop does, and remembers what it was told to do to replicas."""

    now: datetime = BEGIN
    resource: ResourceView = field(default_factory=lambda: ResourceView(generation=0))
    revisions: dict[RevisionId, RevisionView] = field(default_factory=dict)
    replicas: dict[ReplicaId, ReplicaView] = field(default_factory=dict)
    good: set[RevisionId] = field(default_factory=set)
    removed: bool = False
    made: int = 0

    def deploy(self, good: bool, min_scale: int) -> None:
        generation = self.resource.generation + 1
        name = RevisionId(f"r{generation}")
        self.resource = replace(self.resource, generation=generation)
        self.order(Split(active=name))
        if good:
            self.good.add(name)
        self.revisions[name] = RevisionView(
            id=name, generation=generation, state=RevisionState.BUILT, min_scale=min_scale
        )

    def order(self, wanted: Split) -> None:
        """Ask for this split; what is built and at rest is to start again."""
        self.resource = replace(self.resource, traffic=self.resource.traffic.asked(wanted))
        at_rest = (RevisionState.SUPERSEDED, RevisionState.FAILED)
        for one in [self.revisions[name] for name in wanted.revisions if name in self.revisions]:
            if one.state in at_rest:
                self.revisions[one.id] = replace(one, state=RevisionState.BUILT)

    def step(self) -> bool:
        """One pass; whether anything was done. Checks the promise on the way."""
        found = step(self.resource, [*self.revisions.values()], [*self.replicas.values()], self.now)
        for action in found.actions:
            self._check(action)
            self._apply(action)
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

    def _check(self, action: Action) -> None:
        if not isinstance(action, DrainReplica | StopReplica) or not self.resource.enabled or self.resource.deleting:
            return
        target = self.replicas[action.replica_id]
        revision = self.revisions.get(target.revision_id)
        if revision is None or revision.state is not RevisionState.SERVING or not _up(target):
            return
        rest = [one for one in self.replicas.values() if _up(one) and one.id != target.id]
        assert any(one.revision_id == revision.id for one in rest), "the last ready replica in service was taken"

    def _apply(self, action: Action) -> None:
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
            case _:
                self._replica(action)

    def _serve(self, action: Serve) -> None:
        assert action.split == self.resource.traffic.wanted
        for name in self.resource.traffic.required:
            ready = [one for one in self.replicas.values() if one.revision_id == name and _up(one)]
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


def _up(replica: ReplicaView) -> bool:
    return replica.state is ReplicaState.READY and replica.alive


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("deploy"), st.booleans(), st.integers(0, 3)),
        st.tuples(st.just("pass"), st.booleans(), st.integers(0, 0)),
        st.tuples(st.just("crash"), st.booleans(), st.integers(0, 5)),
        st.tuples(st.just("listen"), st.booleans(), st.integers(0, 5)),
        st.tuples(st.just("time"), st.booleans(), st.integers(1, 200)),
        st.tuples(st.just("enable"), st.booleans(), st.integers(0, 0)),
        st.tuples(st.just("canary"), st.booleans(), st.integers(0, 100)),
        st.tuples(st.just("promote"), st.booleans(), st.integers(0, 5)),
        st.tuples(st.just("back"), st.booleans(), st.integers(0, 5)),
    ),
    max_size=25,
)


def happen(world: World, event: tuple[str, bool, int]) -> None:
    kind, flag, number = event
    replicas = [*world.replicas.values()]
    match kind:
        case "deploy":
            world.deploy(flag, number)
        case "pass":
            world.step()
        case "crash" if replicas:
            hit = replicas[number % len(replicas)]
            world.replicas[hit.id] = replace(hit, alive=False, listening=False)
        case "listen" if replicas:
            hit = replicas[number % len(replicas)]
            if hit.alive and hit.revision_id in world.good:
                world.replicas[hit.id] = replace(hit, listening=True)
        case "time":
            world.now += timedelta(seconds=number)
        case "enable":
            world.resource = replace(world.resource, enabled=flag)
        case "canary" if (active := world.resource.traffic.served.active) is not None:
            world.deploy(flag, number % 3)
            canary = RevisionId(f"r{world.resource.generation}")
            world.order(Split(active=active, canary=canary, percent=number))
        case "promote" if (canary := world.resource.traffic.wanted.canary) is not None:
            world.order(Split(active=canary))
        case "back":
            kept = [*world.revisions]
            world.order(Split(active=kept[number % len(kept)]))


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_whatever_happens_it_settles_and_never_takes_the_last_ready_replica(
    events: list[tuple[str, bool, int]],
) -> None:
    world = World()
    world.deploy(True, 1)
    world.settle()
    for event in events:
        happen(world, event)
    world.resource = replace(world.resource, enabled=True)
    world.deploy(True, 2)
    world.settle()
    serving = [one for one in world.revisions.values() if one.state is RevisionState.SERVING]
    assert [one.generation for one in serving] == [world.resource.generation]
    assert len([one for one in world.replicas.values() if _up(one)]) == len(world.replicas) == 2
    status = status_of(world.resource, [*world.revisions.values()], [*world.replicas.values()])
    assert status is WorkloadStatus.DEPLOYED


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_a_bad_revision_fails_and_the_last_good_one_keeps_serving(events: list[tuple[str, bool, int]]) -> None:
    world = World()
    world.deploy(True, 0)
    world.settle()
    for event in events:
        happen(world, event)
    world.resource = replace(world.resource, enabled=True)
    world.settle()
    before = {one.id for one in world.revisions.values() if one.state is RevisionState.SERVING}
    assert before
    world.deploy(False, 0)
    bad = RevisionId(f"r{world.resource.generation}")
    made = world.made
    world.settle()
    assert world.revisions[bad].state is RevisionState.FAILED
    after = {one.id for one in world.revisions.values() if one.state is RevisionState.SERVING}
    assert after == before, "the canary, too, keeps its share"
    assert world.made - made <= START_ATTEMPTS
    assert any(_up(one) for one in world.replicas.values())


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.booleans())
def test_disabling_and_deleting_end_with_nothing_running(events: list[tuple[str, bool, int]], deleting: bool) -> None:
    world = World()
    world.deploy(True, 2)
    for event in events:
        happen(world, event)
    world.resource = replace(world.resource, enabled=False, deleting=deleting)
    for _ in range(50):
        while world.step():
            pass
        world.now += timedelta(seconds=5)
    assert not world.replicas
    assert world.removed is deleting
