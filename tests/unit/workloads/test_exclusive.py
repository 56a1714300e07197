"""Replicas that must be alone with a volume, in a world that misbehaves: never do two of them live, and what serves
comes back where its successor cannot start."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.core.ids import ReplicaId, RevisionId
from homeport.testing import rollout_world
from homeport.testing.rollout_world import BEGIN
from homeport.workloads.actions import (
    Action,
    DrainReplica,
    StartReplica,
)
from homeport.workloads.exclusive import blocked, gives_way, rivals
from homeport.workloads.rollout import step
from homeport.workloads.states import ReplicaState, RevisionState
from homeport.workloads.traffic import Split
from homeport.workloads.views import ReplicaView, RevisionView

WRITES, READS, WITHOUT = ({"data"}, {"data"}), ({"data"}, set()), (set(), set())


def rev(name: str, volumes: tuple[set[str], set[str]], **more: object) -> RevisionView:
    mounted, alone = volumes
    made = RevisionView(id=RevisionId(name), generation=int(name[1:]), state=RevisionState.BUILT)
    return replace(made, volumes=frozenset(mounted), alone=frozenset(alone), **more)  # type: ignore[arg-type]


def rep(name: str, revision: str, state: ReplicaState, *, alive: bool = True) -> ReplicaView:
    return ReplicaView(
        id=ReplicaId(name), revision_id=RevisionId(revision), ordinal=0, state=state, changed_at=BEGIN, alive=alive
    )


class World(rollout_world.World):
    """Looks after each action who lives. For what must be alone with a volume nothing may serve for a moment."""

    def deploy(self, volumes: tuple[set[str], set[str]], *, good: bool = True, canary: bool = False) -> RevisionId:
        number = self.resource.generation + 1
        made = rev(f"r{number}", volumes, min_scale=2)
        self.revisions[made.id] = made
        if good:
            self.good.add(made.id)
        self.resource = replace(self.resource, generation=number)
        served = self.resource.traffic.served.active
        both = canary and served is not None
        self.order(Split(active=served, canary=made.id, percent=10) if both else Split(active=made.id))
        return made.id

    def check_before(self, action: Action) -> None:
        pass

    def apply(self, action: Action) -> None:
        super().apply(action)
        self.check()

    def check(self) -> None:
        living = [one for one in self.replicas.values() if one.alive]
        for one in living:
            for other in living:
                if one.id != other.id:
                    pair = self.revisions[one.revision_id], self.revisions[other.revision_id]
                    assert not rivals(*pair), f"{one.id} lives beside {other.id}"


KINDS = st.sampled_from([WRITES, WRITES, READS, WITHOUT])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["deploy", "canary", "promote", "back", "pass", "crash", "listen", "time", "enable"]),
        KINDS,
        st.booleans(),
        st.integers(0, 100),
    ),
    max_size=30,
)


def happen(world: World, event: tuple[str, tuple[set[str], set[str]], bool, int]) -> None:
    kind, volumes, flag, number = event
    replicas = [*world.replicas.values()]
    hit = replicas[number % len(replicas)] if replicas else None
    match kind:
        case "deploy":
            world.deploy(volumes, good=flag)
        case "canary":
            world.deploy(volumes, good=flag, canary=True)
        case "promote" if (canary := world.resource.traffic.wanted.canary) is not None:
            world.order(Split(active=canary))
        case "back":
            world.order(Split(active=[*world.revisions][number % len(world.revisions)]))
        case "pass":
            world.step()
        case "crash" if hit:
            world.replicas[hit.id] = replace(hit, alive=False, listening=False)
        case "listen" if hit and hit.alive and hit.revision_id in world.good:
            world.replicas[hit.id] = replace(hit, listening=True)
        case "time":
            world.now += timedelta(seconds=number)
        case "enable":
            world.resource = replace(world.resource, enabled=flag)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_whatever_happens_no_two_replicas_live_that_must_be_alone(
    events: list[tuple[str, tuple[set[str], set[str]], bool, int]],
) -> None:
    world = World()
    world.deploy(WRITES)
    world.settle()
    for event in events:
        happen(world, event)
    world.resource = replace(world.resource, enabled=True)
    last = world.deploy(WRITES)
    world.settle()
    assert world.resource.traffic.served == Split(active=last)
    (only,) = world.replicas.values()
    assert only.revision_id == last and only.state is ReplicaState.READY, "one replica, whatever minScale says"


@pytest.mark.parametrize("before", [WRITES, READS])
def test_a_revision_that_cannot_start_brings_the_old_one_back(before: tuple[set[str], set[str]]) -> None:
    world = World()
    old = world.deploy(before)
    world.settle()
    bad = world.deploy(WRITES, good=False)
    world.settle()
    assert world.revisions[bad].state is RevisionState.FAILED
    assert world.resource.traffic.served == Split(active=old) and world.resource.traffic.failed == bad
    ready = [one for one in world.replicas.values() if one.state is ReplicaState.READY]
    assert {one.revision_id for one in ready} == {old} and len(ready) == (1 if before is WRITES else 2)


def test_the_old_one_runs_while_the_new_one_is_built() -> None:
    world = World()
    world.deploy(WRITES)
    world.settle()
    new = world.deploy(WRITES)
    world.revisions[new] = replace(world.revisions[new], state=RevisionState.BUILDING, built=False)
    world.settle(3)
    assert [one.state for one in world.replicas.values()] == [ReplicaState.READY]


def test_the_old_one_drains_before_the_new_one_starts_and_says_why() -> None:
    world = World()
    world.deploy(WRITES)
    world.settle()
    new = world.deploy(WRITES)
    found = step(world.resource, [*world.revisions.values()], [*world.replicas.values()], world.now)
    (drain,) = [one for one in found.actions if isinstance(one, DrainReplica)]
    assert drain.reason == f"{new} starts once it has ended, since both have the volume data"
    assert not any(isinstance(one, StartReplica) for one in found.actions)


def test_what_shares_a_volume_or_only_reads_it_starts_beside_the_old() -> None:
    for volumes in (READS, WITHOUT):
        world = World()
        world.deploy(volumes)
        world.settle()
        world.deploy(volumes)
        found = step(world.resource, [*world.revisions.values()], [*world.replicas.values()], world.now)
        assert sum(isinstance(one, StartReplica) for one in found.actions) == 2
        assert not any(isinstance(one, DrainReplica) for one in found.actions)


def test_a_writer_is_nobodys_neighbour_and_readers_are_each_others() -> None:
    writer, reader, other = rev("r1", WRITES), rev("r2", READS), rev("r3", ({"else"}, {"else"}))
    assert rivals(writer, reader) and rivals(reader, writer) and rivals(writer, writer)
    assert not rivals(reader, reader) and not rivals(writer, other)
    assert gives_way(reader, [other, writer]) == writer and gives_way(writer, [writer, other]) is None
    everyone = [writer, reader, other]
    leaving = rep("p1", "r2", ReplicaState.DRAINING)
    assert blocked(writer, everyone, [leaving]) and not blocked(reader, everyone, [leaving])
    waiting = rep("p2", "r1", ReplicaState.BACKOFF, alive=False)
    assert not blocked(writer, everyone, [waiting], "p2")
    assert blocked(writer, everyone, [replace(waiting, alive=True)], "p2"), "its own unit has not ended"
