"""One step of a rollout at a time: what it asks for, and why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from homeport.core.ids import ReplicaId, RevisionId
from homeport.core.limits import DRAIN_TIMEOUT_S, START_TIMEOUT_S
from homeport.workloads import rollout
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
from homeport.workloads.rollout import RolloutStep, restart_wait_s, surplus_revisions
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split, Traffic
from homeport.workloads.views import ReplicaView, ResourceView, RevisionView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIVE = ResourceView(generation=1)


def rev(generation: int, state: RevisionState, min_scale: int = 0) -> RevisionView:
    return RevisionView(id=RevisionId(f"r{generation}"), generation=generation, state=state, min_scale=min_scale)


def rep(revision: int, state: ReplicaState, ordinal: int = 0, age_s: float = 0, **seen: object) -> ReplicaView:
    view = ReplicaView(
        id=ReplicaId(f"r{revision}-{ordinal}"),
        revision_id=RevisionId(f"r{revision}"),
        ordinal=ordinal,
        state=state,
        changed_at=NOW - timedelta(seconds=age_s),
    )
    return replace(view, **seen)  # type: ignore[arg-type]


def steered(resource: ResourceView, revisions: list[RevisionView]) -> ResourceView:
    """The workload whose newest serving revision is active, and of which the newest pending one is wanted."""
    served = next((Split(active=one.id) for one in revisions if one.state is SERVING), Split())
    first = min([one.generation for one in revisions if one.id == served.active], default=0)
    on_its_way = [one for one in revisions if one.state not in (HELD, SUPERSEDED, SERVING) and one.generation > first]
    wanted = next((Split(active=one.id) for one in on_its_way if one.state is not FAILED), served)
    return replace(resource, traffic=Traffic(served=served, wanted=wanted))


def step(
    resource: ResourceView, revisions: list[RevisionView], replicas: list[ReplicaView], now: datetime
) -> RolloutStep:
    return rollout.step(steered(resource, revisions), revisions, replicas, now)


def status_of(resource: ResourceView, revisions: list[RevisionView], replicas: list[ReplicaView]) -> WorkloadStatus:
    return rollout.status_of(steered(resource, revisions), revisions, replicas)


def kinds(found: RolloutStep) -> list[type[Action]]:
    return [type(action) for action in found.actions]


STARTING, READY, BACKOFF, DRAINING = (
    ReplicaState.STARTING,
    ReplicaState.READY,
    ReplicaState.BACKOFF,
    ReplicaState.DRAINING,
)
BUILT, HELD, SERVING = RevisionState.BUILT, RevisionState.HELD, RevisionState.SERVING
FAILED, SUPERSEDED = RevisionState.FAILED, RevisionState.SUPERSEDED


def test_a_built_revision_starts_one_replica_or_as_many_as_its_minimum() -> None:
    assert kinds(step(LIVE, [rev(1, BUILT)], [], NOW)) == [BeginStart, StartReplica]
    assert kinds(step(LIVE, [rev(1, BUILT, min_scale=3)], [], NOW)) == [BeginStart, *[StartReplica] * 3]


@pytest.mark.parametrize("state", [RevisionState.UPLOADING, RevisionState.BUILDING, RevisionState.FAILED])
def test_a_revision_without_a_bundle_starts_nothing(state: RevisionState) -> None:
    assert step(LIVE, [rev(1, state)], [], NOW).settled


def test_a_replica_that_listens_is_ready_and_then_the_revision_serves() -> None:
    revisions = [rev(1, RevisionState.STARTING)]
    first = step(LIVE, revisions, [rep(1, STARTING, listening=True)], NOW)
    assert kinds(first) == [MarkReady]
    then = step(LIVE, revisions, [rep(1, READY, ready_at=NOW)], NOW)
    assert then.actions == (
        Serve(split=Split(active=RevisionId("r1")), superseded=(), reason="1 of 1 replicas are ready"),
    )


def test_a_starting_replica_is_looked_at_again_at_its_deadline() -> None:
    found = step(LIVE, [rev(1, RevisionState.STARTING)], [rep(1, STARTING, age_s=20)], NOW)
    assert found.actions == ()
    assert found.next_at == NOW + timedelta(seconds=START_TIMEOUT_S - 20)


def test_the_old_revision_serves_until_every_replica_of_the_new_one_is_ready() -> None:
    revisions = [rev(2, RevisionState.STARTING, min_scale=2), rev(1, SERVING)]
    one_ready = [rep(1, READY, ready_at=NOW), rep(2, READY, ready_at=NOW), rep(2, STARTING, ordinal=1)]
    assert step(LIVE, revisions, one_ready, NOW).actions == ()
    both_ready = [*one_ready[:2], rep(2, READY, ordinal=1, ready_at=NOW)]
    (serve,) = step(LIVE, revisions, both_ready, NOW).actions
    assert isinstance(serve, Serve) and serve.superseded == (RevisionId("r1"),)


def test_replicas_of_a_superseded_revision_drain_then_stop() -> None:
    revisions = [rev(2, SERVING), rev(1, RevisionState.SUPERSEDED)]
    new = rep(2, READY, ready_at=NOW)
    assert kinds(step(LIVE, revisions, [new, rep(1, READY)], NOW)) == [DrainReplica]
    waiting = step(LIVE, revisions, [new, rep(1, DRAINING, age_s=5)], NOW)
    assert (waiting.actions, waiting.next_at) == ((), NOW + timedelta(seconds=DRAIN_TIMEOUT_S - 5))
    assert kinds(step(LIVE, revisions, [new, rep(1, DRAINING, idle=True)], NOW)) == [StopReplica]
    assert kinds(step(LIVE, revisions, [new, rep(1, DRAINING, age_s=DRAIN_TIMEOUT_S)], NOW)) == [StopReplica]
    assert kinds(step(LIVE, revisions, [new, rep(1, DRAINING, alive=False)], NOW)) == [StopReplica]


def test_a_program_that_never_listens_fails_its_revision_and_the_old_one_stays() -> None:
    revisions = [rev(2, RevisionState.STARTING), rev(1, SERVING)]
    replicas = [rep(1, READY, ready_at=NOW), rep(2, STARTING, age_s=START_TIMEOUT_S)]
    fail, stop = step(LIVE, revisions, replicas, NOW).actions
    assert isinstance(fail, Fail) and "did not listen on its port within 120 s" in fail.reason
    assert isinstance(stop, StopReplica) and stop.replica_id == ReplicaId("r2-0")


def test_a_program_that_ends_three_times_fails_its_revision_with_its_end() -> None:
    revisions = [rev(1, RevisionState.STARTING)]
    once = step(LIVE, revisions, [rep(1, STARTING, alive=False, message="exit code 1")], NOW)
    assert once.actions == (BackOff(replica_id=ReplicaId("r1-0"), restarts=1, reason="exit code 1"),)
    thrice = step(LIVE, revisions, [rep(1, STARTING, alive=False, restarts=2, message="exit code 1")], NOW)
    assert isinstance(thrice.actions[0], Fail)
    assert thrice.actions[0].reason == "its program ended 3 times before it could serve: exit code 1"


def test_a_crashed_replica_of_a_serving_revision_waits_longer_each_time_and_is_never_given_up() -> None:
    revisions = [rev(1, SERVING)]
    crashed = step(LIVE, revisions, [rep(1, READY, alive=False, restarts=50, ready_at=NOW)], NOW)
    assert crashed.actions == (BackOff(replica_id=ReplicaId("r1-0"), restarts=51, reason="its process ended"),)
    early = step(LIVE, revisions, [rep(1, BACKOFF, restarts=3, age_s=3.9)], NOW)
    assert early.actions == () and early.next_at == NOW + timedelta(seconds=0.1)
    assert kinds(step(LIVE, revisions, [rep(1, BACKOFF, restarts=3, age_s=4)], NOW)) == [RestartReplica]
    assert [restart_wait_s(count) for count in (0, 1, 2, 3, 7, 1000)] == [1, 1, 2, 4, 60, 60]


def test_a_replica_that_was_steady_starts_its_count_anew() -> None:
    steady = rep(1, READY, alive=False, restarts=9, ready_at=NOW - timedelta(hours=1))
    (back_off,) = step(LIVE, [rev(1, SERVING)], [steady], NOW).actions
    assert isinstance(back_off, BackOff) and back_off.restarts == 1


def test_a_program_on_another_port_is_told_once_and_given_up_with_that_port() -> None:
    odd = replace(rep(1, STARTING), port=20123, elsewhere=(3000, 9229))
    words = "it listens on 3000 and 9229, not on $PORT (20123)"
    soon = step(LIVE, [rev(1, RevisionState.STARTING)], [odd], odd.changed_at + timedelta(seconds=9))
    assert (soon.actions, soon.next_at) == ((), odd.changed_at + timedelta(seconds=10))
    told = step(LIVE, [rev(1, RevisionState.STARTING)], [odd], odd.changed_at + timedelta(seconds=10))
    assert told.actions == (NoteReplica(replica_id=odd.id, reason=words),)
    noted = replace(odd, message=words)
    again = step(LIVE, [rev(1, RevisionState.STARTING)], [noted], odd.changed_at + timedelta(seconds=11))
    assert again.actions == ()
    inside = replace(odd, elsewhere=(), inside=(8000,))
    told = step(LIVE, [rev(1, RevisionState.STARTING)], [inside], odd.changed_at + timedelta(seconds=10))
    assert [note.reason for note in told.actions if isinstance(note, NoteReplica)] == [
        "it listens on 8000 of its container's own loopback, where nobody reaches it, "
        "not on $HOST (0.0.0.0) and $PORT (20123)"
    ]
    late = step(LIVE, [rev(1, RevisionState.STARTING)], [noted], odd.changed_at + timedelta(seconds=START_TIMEOUT_S))
    assert [action.reason for action in late.actions if isinstance(action, Fail)] == [
        f"its program did not listen on its port within {START_TIMEOUT_S} s: {words}"
    ]


def test_a_serving_replica_that_restarts_without_listening_is_started_again() -> None:
    (back_off,) = step(LIVE, [rev(1, SERVING)], [rep(1, STARTING, age_s=START_TIMEOUT_S, restarts=1)], NOW).actions
    assert isinstance(back_off, BackOff) and back_off.restarts == 2


def test_a_newer_revision_takes_the_turn_of_one_that_was_starting() -> None:
    revisions = [rev(3, BUILT), rev(2, RevisionState.STARTING), rev(1, SERVING)]
    replicas = [rep(1, READY, ready_at=NOW), rep(2, STARTING)]
    assert kinds(step(LIVE, revisions, replicas, NOW)) == [BeginStart, StartReplica, StopReplica, Supersede]


def test_an_older_built_revision_never_replaces_a_newer_that_serves() -> None:
    found = step(LIVE, [rev(2, SERVING), rev(1, BUILT)], [rep(2, READY, ready_at=NOW)], NOW)
    assert kinds(found) == [Supersede]


def test_a_kept_revision_starts_nothing_and_replaces_nothing() -> None:
    assert step(LIVE, [rev(1, HELD)], [], NOW).settled
    assert step(LIVE, [rev(2, HELD), rev(1, SERVING)], [rep(1, READY)], NOW).settled


def test_a_disabled_workload_drains_everything_and_returns_when_enabled() -> None:
    disabled = ResourceView(generation=1, enabled=False)
    replicas = [rep(1, READY, ready_at=NOW), rep(1, BACKOFF, ordinal=1), rep(1, STARTING, ordinal=2)]
    assert kinds(step(disabled, [rev(1, SERVING)], replicas, NOW)) == [DrainReplica, StopReplica, StopReplica]
    assert step(disabled, [rev(1, SERVING)], [], NOW).settled
    assert kinds(step(LIVE, [rev(1, SERVING)], [], NOW)) == [StartReplica]


def test_a_deleted_workload_is_removed_once_nothing_runs() -> None:
    deleting = ResourceView(generation=1, deleting=True)
    assert kinds(step(deleting, [rev(1, SERVING)], [rep(1, READY)], NOW)) == [DrainReplica]
    assert kinds(step(deleting, [rev(1, SERVING)], [], NOW)) == [RemoveResource]


def test_an_orphan_and_an_extra_replica_are_taken_away_and_the_ready_one_kept() -> None:
    replicas = [rep(1, STARTING), rep(1, READY, ordinal=1, ready_at=NOW), rep(9, STARTING)]
    stopped = [action for action in step(LIVE, [rev(1, SERVING)], replicas, NOW).actions]
    assert [getattr(action, "replica_id", None) for action in stopped] == ["r1-0", "r9-0"]
    assert all(isinstance(action, StopReplica) for action in stopped)


def test_a_new_replica_does_not_take_the_ordinal_of_one_that_drains() -> None:
    (start,) = step(LIVE, [rev(1, SERVING)], [rep(1, DRAINING)], NOW).actions
    assert isinstance(start, StartReplica) and start.ordinal == 1


def test_five_revisions_are_kept_and_the_serving_one_always() -> None:
    states = [RevisionState.FAILED] * 7 + [SERVING]
    revisions = [rev(generation, state) for generation, state in zip(range(8, 0, -1), states, strict=True)]
    assert surplus_revisions(revisions) == (RevisionId("r2"), RevisionId("r3"))
    assert surplus_revisions(revisions, [RevisionId("r2")]) == (RevisionId("r3"),)
    deletes = [one for one in step(LIVE, revisions, [rep(1, READY)], NOW).actions if isinstance(one, DeleteRevision)]
    assert [one.revision_id for one in deletes] == ["r2", "r3"]


@pytest.mark.parametrize(
    ("resource", "revisions", "replicas", "expected"),
    [
        (ResourceView(generation=1), [rev(1, RevisionState.UPLOADING)], [], WorkloadStatus.UPLOADING),
        (ResourceView(generation=1), [rev(1, RevisionState.BUILDING)], [], WorkloadStatus.BUILDING),
        (ResourceView(generation=1), [rev(1, BUILT)], [], WorkloadStatus.DEPLOYING),
        (ResourceView(generation=1), [rev(1, RevisionState.STARTING)], [rep(1, STARTING)], WorkloadStatus.DEPLOYING),
        (ResourceView(generation=1), [rev(1, SERVING)], [rep(1, READY)], WorkloadStatus.DEPLOYED),
        (ResourceView(generation=1), [rev(1, SERVING)], [rep(1, BACKOFF)], WorkloadStatus.DEPLOYING),
        (ResourceView(generation=2), [rev(1, SERVING)], [rep(1, READY)], WorkloadStatus.DEPLOYED),
        (ResourceView(generation=2), [rev(2, BUILT), rev(1, SERVING)], [rep(1, READY)], WorkloadStatus.DEPLOYING),
        (
            ResourceView(generation=2),
            [rev(2, RevisionState.FAILED), rev(1, SERVING)],
            [rep(1, READY)],
            WorkloadStatus.FAILED,
        ),
        (ResourceView(generation=1), [rev(1, HELD)], [], WorkloadStatus.BUILT),
        (ResourceView(generation=2), [rev(2, HELD), rev(1, SERVING)], [rep(1, READY)], WorkloadStatus.DEPLOYED),
        (ResourceView(generation=2), [rev(2, HELD), rev(1, SERVING)], [rep(1, BACKOFF)], WorkloadStatus.DEPLOYING),
        (ResourceView(generation=2), [rev(2, HELD), rev(1, BUILT)], [], WorkloadStatus.DEPLOYING),
        (ResourceView(generation=1, enabled=False), [rev(1, SERVING)], [rep(1, DRAINING)], WorkloadStatus.DEACTIVATING),
        (ResourceView(generation=1, enabled=False), [rev(1, SERVING)], [], WorkloadStatus.DEACTIVATED),
        (ResourceView(generation=1, deleting=True), [rev(1, SERVING)], [rep(1, READY)], WorkloadStatus.DELETING),
    ],
)
def test_the_status_says_where_the_newest_generation_is(
    resource: ResourceView, revisions: list[RevisionView], replicas: list[ReplicaView], expected: WorkloadStatus
) -> None:
    assert status_of(resource, revisions, replicas) is expected
