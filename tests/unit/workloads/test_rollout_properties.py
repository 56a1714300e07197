"""The rollout against a world that misbehaves: replicas start late, crash, hang; revisions come at any time."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.core.ids import RevisionId
from homeport.testing import rollout_world
from homeport.testing.rollout_world import is_up
from homeport.workloads.rollout import START_ATTEMPTS, status_of
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split
from homeport.workloads.views import RevisionView


class World(rollout_world.World):
    """Deploys without volumes."""

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
    assert len([one for one in world.replicas.values() if is_up(one)]) == len(world.replicas) == 2
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
    assert any(is_up(one) for one in world.replicas.values())


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
