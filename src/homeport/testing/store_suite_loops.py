"""What the store promises to the loops: the few workloads of which something is under way, found among the many at
rest. Part of the contract suite; see `homeport.testing.store_suite`."""

from dataclasses import replace
from typing import Any

import pytest

from homeport.core.ids import Kind, RevisionId
from homeport.store.contract import Store, Transaction
from homeport.store.records import Resource
from homeport.testing.factories import make_replica, make_resource, make_revision
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus

KEPT = 2
_MOVING = (ReplicaState.STARTING, ReplicaState.DRAINING)
_RESTING = (
    (WorkloadStatus.DEPLOYED, RevisionState.SERVING),
    (WorkloadStatus.DEACTIVATED, RevisionState.SERVING),
    (WorkloadStatus.FAILED, RevisionState.FAILED),
)
_AWAITED = (
    (WorkloadStatus.UPLOADING, RevisionState.UPLOADING),
    (WorkloadStatus.BUILDING, RevisionState.BUILDING),
)


async def _add(store: Store, state: RevisionState, **changes: Any) -> Resource:
    """A job with one revision, of its generation, in this state."""
    job = make_resource(kind=Kind.JOB, **changes)

    def write(tx: Transaction) -> None:
        tx.resources.insert(job)
        tx.revisions.insert(make_revision(job, state=state))

    await store.write(write)
    return job


async def _unsettled(store: Store, kind: Kind = Kind.JOB, *states: RevisionState) -> list[str]:
    found = await store.read(lambda tx: tx.resources.unsettled(kind, states or [RevisionState.BUILT], _MOVING, KEPT))
    return [resource.uid for resource in found]


class UnsettledSuite:
    """What `Resources.unsettled`, `uids`, `count`, `Revisions.of_each` and `digests` promise."""

    @pytest.mark.parametrize(("status", "state"), _RESTING)
    async def test_what_its_status_tells_and_nothing_moves_is_at_rest(
        self, store: Store, status: WorkloadStatus, state: RevisionState
    ) -> None:
        await _add(store, state, status=status)
        assert await _unsettled(store) == []

    @pytest.mark.parametrize(("status", "state"), _AWAITED)
    async def test_what_waits_for_its_archive_or_its_build_is_at_rest_until_it_moves(
        self, store: Store, status: WorkloadStatus, state: RevisionState
    ) -> None:
        job = await _add(store, state, status=status, observed_generation=0)
        assert await _unsettled(store) == []
        revision = make_revision(job, state=RevisionState.FAILED)
        await store.write(lambda tx: tx.revisions.replace_if_state(revision, state))
        assert await _unsettled(store) == [job.uid]

    @pytest.mark.parametrize(
        "changes",
        [
            {"generation": 2},
            {"deleting": True},
            {"deleting": True, "status": WorkloadStatus.UPLOADING},
            {"status": WorkloadStatus.DEPLOYING},
            {"status": WorkloadStatus.UPLOADING},
        ],
        ids=repr,
    )
    async def test_what_its_status_does_not_tell_is_unsettled(self, store: Store, changes: dict[str, Any]) -> None:
        job = await _add(store, RevisionState.SERVING, **changes)
        assert await _unsettled(store) == [job.uid]

    async def test_a_revision_in_a_named_state_is_motion_and_one_of_another_kind_is_not(self, store: Store) -> None:
        job = await _add(store, RevisionState.SERVING)
        assert await _unsettled(store, Kind.JOB, RevisionState.SERVING) == [job.uid]
        assert await _unsettled(store, Kind.JOB, RevisionState.BUILT, RevisionState.STARTING) == []
        assert await _unsettled(store, Kind.AGENT, RevisionState.SERVING) == []

    async def test_more_revisions_than_are_kept_are_motion(self, store: Store) -> None:
        job = await _add(store, RevisionState.SERVING)
        for number in range(KEPT):
            assert await _unsettled(store) == []
            older = make_revision(job, id=RevisionId(f"rev-{number}"), generation=0, state=RevisionState.SUPERSEDED)
            await store.write(lambda tx, older=older: tx.revisions.insert(older))  # type: ignore[misc]
        assert await _unsettled(store) == [job.uid]

    async def test_a_replica_in_a_named_state_is_motion_and_another_one_is_not(self, store: Store) -> None:
        agent = make_resource(status=WorkloadStatus.FAILED)
        revision = make_revision(agent, state=RevisionState.FAILED)
        replica = make_replica(revision, state=ReplicaState.READY)

        def write(tx: Transaction) -> None:
            tx.resources.insert(agent)
            tx.revisions.insert(revision)
            tx.replicas.insert(replica)

        await store.write(write)
        assert await _unsettled(store, Kind.AGENT) == []
        await store.write(lambda tx: tx.replicas.replace(replace(replica, state=ReplicaState.DRAINING)))
        assert await _unsettled(store, Kind.AGENT) == [agent.uid]
        assert await _unsettled(store, Kind.JOB) == []

    async def test_a_policy_is_never_unsettled(self, store: Store) -> None:
        await store.write(lambda tx: tx.resources.insert(make_resource(kind=Kind.POLICY)))
        assert await _unsettled(store, Kind.POLICY) == []

    async def test_resources_with_a_setting_are_found_by_its_name_and_not_by_its_mention(self, store: Store) -> None:
        timed = make_resource("timed", kind=Kind.JOB, spec={"runtime": {"ttl": "1h"}})
        said = make_resource("said", kind=Kind.JOB, spec={"runtime": {"note": '"ttl": "1h"', "a_ttl": 1, "tt%": 2}})
        agent = make_resource("agent", spec={"runtime": {"ttl": "1h"}})
        for resource in (timed, said, agent):
            await store.write(lambda tx, resource=resource: tx.resources.insert(resource))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.resources.with_setting(Kind.JOB, ["expires", "ttl"])) == [timed]
        assert await store.read(lambda tx: tx.resources.with_setting(Kind.JOB, ["t%"])) == []

    async def test_resources_of_a_kind_are_counted_and_named(self, store: Store) -> None:
        here, there = make_resource("a"), make_resource("b", workspace="other")
        for resource in (here, there, make_resource(kind=Kind.JOB)):
            await store.write(lambda tx, resource=resource: tx.resources.insert(resource))  # type: ignore[misc]
        assert {*await store.read(lambda tx: tx.resources.uids(Kind.AGENT))} == {here.uid, there.uid}
        assert await store.read(lambda tx: tx.resources.count("home", Kind.AGENT)) == 1

    async def test_revisions_of_many_come_as_those_of_one(self, store: Store) -> None:
        first, second = await _add(store, RevisionState.SERVING), make_resource("two", kind=Kind.JOB)
        older = make_revision(first, id=RevisionId("rev-older"), generation=0)
        await store.write(lambda tx: tx.revisions.insert(older))
        found = await store.read(lambda tx: tx.revisions.of_each([first.uid, second.uid]))
        assert found == {first.uid: await store.read(lambda tx: tx.revisions.of(first.uid)), second.uid: []}
        assert [revision.generation for revision in found[first.uid]] == [1, 0]

    async def test_digests_are_of_sources_and_bundles_once_each(self, store: Store) -> None:
        job = await _add(store, RevisionState.SERVING)
        for number, names in enumerate([{"source_digest": "a"}, {"source_digest": "a", "bundle_digest": "b"}]):
            made = replace(make_revision(job), id=RevisionId(f"rev-{number}"), **names)  # type: ignore[arg-type]
            await store.write(lambda tx, made=made: tx.revisions.insert(made))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.revisions.digests()) == {"a", "b"}
