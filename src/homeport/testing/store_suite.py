"""The store's contract as tests: every implementation of `homeport.store.contract.Store` runs these and passes.

A test module subclasses each suite and gives a `store` fixture: an empty, started store. Executions have a module of
their own, `store_suite_executions`.
"""

import asyncio
import itertools
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.core.errors import Conflict, Invalid
from homeport.core.ids import Kind, ReplicaId, RevisionId, UnitId
from homeport.store.contract import Store, Transaction
from homeport.store.records import ListQuery, Resource, ResourcePage, Role, Tombstone
from homeport.testing.factories import (
    NOON,
    make_account,
    make_event,
    make_execution,
    make_key,
    make_replica,
    make_resource,
    make_revision,
    make_workspace,
)
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus

LATER = NOON + timedelta(minutes=1)
# A fresh name for each example of a property, since all examples share the store of their test.
_fresh = itertools.count()

PROPERTY = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class TransactionSuite:
    """What `read` and `write` promise."""

    async def test_a_write_returns_what_its_work_returns(self, store: Store) -> None:
        assert await store.write(lambda _: 7) == 7
        assert await store.read(lambda _: "x") == "x"

    async def test_a_finished_write_is_seen_by_the_next_read(self, store: Store) -> None:
        for number in range(20):
            await store.write(lambda tx, value=str(number): tx.set_note("cursor", value))  # type: ignore[misc]
            assert await store.read(lambda tx: tx.note("cursor")) == str(number)

    async def test_a_note_that_was_never_set_is_none(self, store: Store) -> None:
        assert await store.read(lambda tx: tx.note("cursor")) is None

    async def test_a_work_that_raises_writes_nothing(self, store: Store) -> None:
        def work(tx: Transaction) -> None:
            tx.set_note("cursor", "1")
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await store.write(work)
        assert await store.read(lambda tx: tx.note("cursor")) is None

    async def test_writes_that_wait_together_succeed_and_fail_each_for_itself(self, store: Store) -> None:
        def work(number: int) -> Any:
            def write(tx: Transaction) -> int:
                tx.set_note(f"n{number}", "set")
                if number % 3 == 0:
                    raise ValueError(str(number))
                return number

            return write

        writes = (store.write(work(number)) for number in range(60))
        answers = await asyncio.gather(*writes, return_exceptions=True)
        for number, answer in enumerate(answers):
            noted = await store.read(lambda tx, number=number: tx.note(f"n{number}"))  # type: ignore[misc]
            if number % 3 == 0:
                assert isinstance(answer, ValueError)
                assert noted is None
            else:
                assert (answer, noted) == (number, "set")

    async def test_a_conflict_in_a_group_leaves_the_others_alone(self, store: Store) -> None:
        add = [store.write(lambda tx: tx.resources.insert(make_resource())) for _ in range(5)]
        notes = [store.write(lambda tx, key=f"n{n}": tx.set_note(key, "set")) for n in range(5)]  # type: ignore[misc]
        mixed = [write for pair in zip(add, notes, strict=True) for write in pair]
        answers = await asyncio.gather(*mixed, return_exceptions=True)
        assert [isinstance(answer, Conflict) for answer in answers[::2]] == [False, True, True, True, True]
        assert answers[1::2] == [None] * 5

    async def test_two_readers_each_see_one_snapshot_while_a_writer_writes(self, store: Store) -> None:
        await store.write(lambda tx: _set_pair(tx, "0"))
        started, wrote = threading.Barrier(3), threading.Event()

        def read(tx: Transaction) -> tuple[str | None, str | None]:
            left = tx.note("left")
            started.wait(10)
            assert wrote.wait(10)
            return left, tx.note("right")

        readers = [asyncio.create_task(store.read(read)) for _ in range(2)]
        await asyncio.to_thread(started.wait, 10)
        await store.write(lambda tx: _set_pair(tx, "1"))
        wrote.set()
        assert await asyncio.gather(*readers) == [("0", "0"), ("0", "0")]
        assert await store.read(lambda tx: (tx.note("left"), tx.note("right"))) == ("1", "1")

    async def test_starting_and_stopping_twice_does_nothing_the_second_time(self, store: Store) -> None:
        await store.write(lambda tx: tx.set_note("cursor", "1"))
        await store.start()
        await store.stop()
        await store.stop()
        await store.start()
        assert await store.read(lambda tx: tx.note("cursor")) == "1"


class IdentitySuite:
    """What `Identities` promises."""

    async def test_workspaces_and_accounts_come_back_as_they_were_written(self, store: Store) -> None:
        account = make_account(role=Role.WORKLOAD, owner_uid="agent-1", description="It's «mine»")
        await store.write(lambda tx: tx.identities.add_workspace(make_workspace()))
        await store.write(lambda tx: tx.identities.add_account(account))
        assert await store.read(lambda tx: tx.identities.workspace("home")) == make_workspace()
        assert await store.read(lambda tx: tx.identities.workspace("other")) is None
        assert await store.read(lambda tx: tx.identities.workspaces()) == [make_workspace()]
        assert await store.read(lambda tx: tx.identities.account("sa-one")) == account
        assert await store.read(lambda tx: tx.identities.account_of("agent-1")) == account
        assert await store.read(lambda tx: tx.identities.account_of("agent-2")) is None

    async def test_a_second_workspace_of_the_same_name_conflicts(self, store: Store) -> None:
        await store.write(lambda tx: tx.identities.add_workspace(make_workspace()))
        with pytest.raises(Conflict, match="home"):
            await store.write(lambda tx: tx.identities.add_workspace(make_workspace()))

    async def test_a_second_account_of_the_same_id_or_workload_conflicts(self, store: Store) -> None:
        await store.write(lambda tx: tx.identities.add_account(make_account(owner_uid="agent-1")))
        for twin in (make_account(), make_account("sa-two", owner_uid="agent-1")):
            with pytest.raises(Conflict):
                await store.write(lambda tx, twin=twin: tx.identities.add_account(twin))  # type: ignore[misc]

    async def test_an_account_changes_in_what_may_change(self, store: Store) -> None:
        await store.write(lambda tx: tx.identities.add_account(make_account()))
        changed = make_account(name="two", description="2", role=Role.MEMBER, updated_at=LATER)
        assert await store.write(lambda tx: tx.identities.replace_account(replace(changed, workspace="other"))) is True
        assert await store.read(lambda tx: tx.identities.account("sa-one")) == changed
        assert await store.write(lambda tx: tx.identities.replace_account(make_account("sa-two"))) is False

    async def test_accounts_are_listed_in_order_of_creation(self, store: Store) -> None:
        ages = {"sa-c": 1, "sa-a": 2, "sa-b": 3}
        made = [make_account(client, created_at=NOON + timedelta(seconds=age)) for client, age in ages.items()]
        for account in [*reversed(made), make_account("sa-z", workspace="other")]:
            await store.write(lambda tx, account=account: tx.identities.add_account(account))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.identities.accounts("home")) == made

    async def test_a_key_is_revoked_once_and_listed_until_it_expires(self, store: Store) -> None:
        keys = [make_key("key-a", expires_at=LATER), make_key("key-b"), make_key("key-c")]
        for key in keys:
            await store.write(lambda tx, key=key: tx.identities.add_key(key))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.identities.keys("sa-one")) == keys
        assert await store.write(lambda tx: tx.identities.revoke_key("key-a", NOON)) is True
        assert await store.write(lambda tx: tx.identities.revoke_key("key-a", LATER)) is False
        assert await store.write(lambda tx: tx.identities.revoke_key("key-z", NOON)) is False
        await store.write(lambda tx: tx.identities.revoke_key("key-b", NOON))
        assert await store.read(lambda tx: tx.identities.key("key-a")) == replace(keys[0], revoked_at=NOON)
        assert await store.read(lambda tx: tx.identities.revoked_keys(NOON)) == ["key-a", "key-b"]
        assert await store.read(lambda tx: tx.identities.revoked_keys(LATER)) == ["key-b"]
        assert await store.write(lambda tx: tx.identities.prune_keys(NOON)) == 0
        assert await store.write(lambda tx: tx.identities.prune_keys(LATER)) == 1
        assert await store.read(lambda tx: tx.identities.keys("sa-one")) == [replace(keys[1], revoked_at=NOON), keys[2]]

    async def test_removing_an_account_revokes_its_keys(self, store: Store) -> None:
        earlier = make_key("key-a", revoked_at=NOON)
        await store.write(lambda tx: tx.identities.add_account(make_account()))
        for key in (earlier, make_key("key-b"), make_key("key-c", client_id="sa-two")):
            await store.write(lambda tx, key=key: tx.identities.add_key(key))  # type: ignore[misc]
        await store.write(lambda tx: tx.identities.remove_account("sa-one", LATER))
        assert await store.read(lambda tx: tx.identities.account("sa-one")) is None
        assert await store.read(lambda tx: tx.identities.revoked_keys(LATER)) == ["key-a", "key-b"]
        assert await store.read(lambda tx: tx.identities.key("key-a")) == earlier


class ResourceSuite:
    """What `Resources` promises, lists apart."""

    async def test_a_resource_comes_back_as_it_was_written(self, store: Store) -> None:
        spec = {"runtime": {"memory": 2048, "envs": [{"name": "A", "value": "é\n\ud800"}]}, "unknown": [1, None, 2.5]}
        agent = make_resource(labels={"Team": "Ünï"}, spec=spec, display_name="One", external_id="x", deleting=True)
        policy = make_resource(kind=Kind.POLICY)
        for resource in (agent, policy):
            await store.write(lambda tx, resource=resource: tx.resources.insert(resource))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.resources.get("home", Kind.AGENT, "one")) == agent
        assert await store.read(lambda tx: tx.resources.by_uid("policy-one")) == policy
        assert await store.read(lambda tx: tx.resources.get("home", Kind.JOB, "one")) is None
        assert await store.read(lambda tx: tx.resources.get("other", Kind.AGENT, "one")) is None

    async def test_a_name_is_taken_once_in_a_workspace_and_kind(self, store: Store) -> None:
        await store.write(lambda tx: tx.resources.insert(make_resource()))
        with pytest.raises(Conflict, match="one"):
            await store.write(lambda tx: tx.resources.insert(make_resource(uid="another")))
        await store.write(lambda tx: tx.resources.insert(make_resource(kind=Kind.JOB)))
        await store.write(lambda tx: tx.resources.insert(make_resource(uid="another", workspace="other")))

    async def test_replace_needs_the_generation_that_is_stored(self, store: Store) -> None:
        first = make_resource(spec={"policies": ["near"]})
        await store.write(lambda tx: tx.resources.insert(first))
        second = replace(
            first,
            generation=2,
            labels={"a": "b"},
            spec={"policies": ["far"]},
            status=WorkloadStatus.BUILDING,
            updated_at=LATER,
            updated_by="me",
        )
        assert await store.write(lambda tx: tx.resources.replace(second, 2)) is False
        assert await store.read(lambda tx: tx.resources.by_uid(first.uid)) == first
        assert await store.write(lambda tx: tx.resources.replace(second, 1)) is True
        assert await store.read(lambda tx: tx.resources.by_uid(first.uid)) == second
        assert await store.write(lambda tx: tx.resources.replace(replace(second, uid="gone"), 2)) is False

    async def test_replace_never_changes_how_a_resource_was_made(self, store: Store) -> None:
        first = make_resource()
        await store.write(lambda tx: tx.resources.insert(first))
        moved = replace(first, name="two", workspace="other", created_at=LATER, created_by="me", display_name="Two")
        assert await store.write(lambda tx: tx.resources.replace(moved, 1)) is True
        stored = await store.read(lambda tx: tx.resources.by_uid(first.uid))
        assert stored == replace(first, display_name="Two")

    async def test_deleting_takes_revisions_replicas_and_events_along_but_no_executions(self, store: Store) -> None:
        job, agent = make_resource("sums", kind=Kind.JOB, spec={"policies": ["near"]}), make_resource()

        def fill(tx: Transaction) -> None:
            for resource in (job, agent):
                revision = make_revision(resource)
                tx.resources.insert(resource)
                tx.revisions.insert(revision)
                tx.replicas.insert(make_replica(revision))
                tx.events.add(make_event(resource))
            tx.executions.insert(make_execution(job_uid=job.uid))

        await store.write(fill)
        await store.write(lambda tx: tx.resources.delete(job.uid))

        def left(tx: Transaction) -> tuple[list[int], list[int]]:
            of = [
                [len(found) for found in (tx.revisions.of(uid), tx.replicas.of(uid), tx.events.of(uid))]
                for uid in (job.uid, agent.uid)
            ]
            return of[0], of[1]

        assert await store.read(left) == ([0, 0, 0], [1, 1, 1])
        assert await store.read(lambda tx: tx.resources.by_uid(job.uid)) is None
        assert await store.read(lambda tx: tx.executions.get(make_execution().id)) is not None
        assert await store.read(lambda tx: tx.resources.using_policy("home", "near")) == []

    async def test_using_policy_follows_the_specs_as_they_change(self, store: Store) -> None:
        near = make_resource("a", spec={"policies": ["near", "near", "cheap"]})
        far = make_resource("b", spec={"policies": ["nearby"]})
        job = make_resource("c", kind=Kind.JOB, spec={"policies": ["near"]})
        foreign = make_resource("d", workspace="other", spec={"policies": ["near"]})
        odd = make_resource("e", spec={"policies": "near"})
        for resource in (near, far, job, foreign, odd):
            await store.write(lambda tx, resource=resource: tx.resources.insert(resource))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.resources.using_policy("home", "near")) == [near, job]
        moved = replace(near, spec={"policies": ["nearby"]}, generation=2)
        await store.write(lambda tx: tx.resources.replace(moved, 1))
        assert await store.read(lambda tx: tx.resources.using_policy("home", "near")) == [job]
        assert await store.read(lambda tx: tx.resources.using_policy("home", "nearby")) == [moved, far]

    async def test_users_of_many_policies_are_counted_by_kind(self, store: Store) -> None:
        near = make_resource("a", spec={"policies": ["near", "near", "cheap"]})
        also = make_resource("b", spec={"policies": ["near"]})
        job = make_resource("c", kind=Kind.JOB, spec={"policies": ["near"]})
        foreign = make_resource("d", workspace="other", spec={"policies": ["near", "unused"]})
        await _insert(store, [near, also, job, foreign])
        names = ["near", "cheap", "unused", *(f"none-{number}" for number in range(1200))]
        counted = await store.read(lambda tx: tx.resources.count_policy_users("home", names))
        assert counted == {"near": {Kind.AGENT: 2, Kind.JOB: 1}, "cheap": {Kind.AGENT: 1}}
        assert await store.read(lambda tx: tx.resources.count_policy_users("home", ["cheap"])) == {
            "cheap": {Kind.AGENT: 1}
        }
        assert await store.read(lambda tx: tx.resources.count_policy_users("home", [])) == {}


class TombstoneSuite:
    """What `Tombstones` promises."""

    async def test_a_tombstone_is_found_until_its_name_lives_again(self, store: Store) -> None:
        grave = Tombstone(workspace="home", name="eu", deleted_at=NOON, deleted_by="ada")
        newer = replace(grave, deleted_at=LATER, deleted_by="bob")
        for one in (grave, newer):
            await store.write(lambda tx, one=one: tx.tombstones.add(one))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.tombstones.get("home", "eu")) == newer
        assert await store.read(lambda tx: tx.tombstones.get("other", "eu")) is None
        for _ in range(2):
            await store.write(lambda tx: tx.tombstones.remove("home", "eu"))
        assert await store.read(lambda tx: tx.tombstones.get("home", "eu")) is None

    async def test_the_newest_are_kept_and_those_that_a_workload_names(self, store: Store) -> None:
        await _insert(store, [make_resource("user", spec={"policies": ["p-0"]})])
        elsewhere = Tombstone(workspace="other", name="p-1", deleted_at=NOON, deleted_by="ada")
        await store.write(lambda tx: tx.tombstones.add(elsewhere))

        def bury(tx: Transaction) -> None:
            for number in range(6):
                when = NOON + timedelta(seconds=number)
                grave = Tombstone(workspace="home", name=f"p-{number}", deleted_at=when, deleted_by="ada")
                tx.tombstones.add(grave, keep=2)

        await store.write(bury)

        def left(tx: Transaction) -> list[int]:
            return [number for number in range(6) if tx.tombstones.get("home", f"p-{number}")]

        assert await store.read(left) == [0, 4, 5]
        assert await store.read(lambda tx: tx.tombstones.get("other", "p-1")) == elsewhere


class PageSuite:
    """What `Resources.page` promises."""

    async def test_a_page_tells_whether_more_follows_and_how_many_there_are(self, store: Store) -> None:
        await _insert(store, [make_resource(name) for name in "abcde"])
        query = ListQuery(workspace="home", kind=Kind.AGENT, limit=2, sort="name:asc")
        first = await _page(store, query)
        assert (_names(first), first.total) == ("ab", 5)
        second = await _page(store, replace(query, after=first.next))
        third = await _page(store, replace(query, after=second.next))
        assert (_names(second), _names(third), third.next) == ("cd", "e", None)

    async def test_a_full_last_page_has_no_next(self, store: Store) -> None:
        await _insert(store, [make_resource(name) for name in "ab"])
        page = await _page(store, ListQuery(workspace="home", kind=Kind.AGENT, limit=2))
        assert (len(page.items), page.next) == (2, None)

    async def test_the_last_page_is_in_the_order_of_the_list(self, store: Store) -> None:
        await _insert(store, [make_resource(name, created_at=NOON + timedelta(seconds=ord(name))) for name in "abcde"])
        query = ListQuery(workspace="home", kind=Kind.AGENT, limit=2, from_end=True)
        newest_first, oldest_first = await _page(store, query), await _page(store, replace(query, sort="createdAt:asc"))
        assert (_names(newest_first), _names(oldest_first)) == ("ba", "de")
        assert (newest_first.next, newest_first.total) == (None, 5)

    @pytest.mark.parametrize(
        ("q", "names"),
        [("ne-th", "a"), ("title", "b"), ("team", "c"), ("blue", "c"), ("100%", "d"), ("1%0", ""), ("mblue", "")],
    )
    async def test_a_query_looks_through_names_titles_and_labels(self, store: Store, q: str, names: str) -> None:
        one = make_resource("one-two", display_name=None, created_at=NOON + timedelta(seconds=3))
        texts = {"a": replace(one, name="one-three", uid="a")}
        texts["b"] = make_resource("b", display_name="A TITLE")
        texts["c"] = make_resource("c", labels={"Team": "BLUE"})
        texts["d"] = make_resource("d", labels={"load": "100%"})
        await _insert(store, [*texts.values(), one, make_resource("blue", kind=Kind.JOB)])
        page = await _page(store, ListQuery(workspace="home", kind=Kind.AGENT, limit=10, q=q))
        assert [resource.uid for resource in page.items] == [texts[name].uid for name in names]
        assert page.total == 5

    async def test_a_query_matches_no_differently_after_a_change(self, store: Store) -> None:
        await _insert(store, [make_resource(labels={"team": "blue"})])
        changed = make_resource(labels={"team": "green"}, generation=2)
        await store.write(lambda tx: tx.resources.replace(changed, 1))
        query = ListQuery(workspace="home", kind=Kind.AGENT, limit=10, q="blue")
        assert (await _page(store, query)).items == []
        assert (await _page(store, replace(query, q="green"))).items == [changed]

    async def test_statuses_narrow_the_items_but_not_the_total(self, store: Store) -> None:
        states = [WorkloadStatus.DEPLOYED, WorkloadStatus.FAILED, WorkloadStatus.BUILDING, None]
        await _insert(store, [make_resource(f"a{place}", status=state) for place, state in enumerate(states)])
        wanted = frozenset({"FAILED", "BUILDING"})
        query = ListQuery(workspace="home", kind=Kind.AGENT, limit=10, sort="name:asc", statuses=wanted)
        page = await _page(store, query)
        assert ([resource.name for resource in page.items], page.total) == (["a1", "a2"], 4)

    async def test_a_position_that_no_page_gave_is_invalid(self, store: Store) -> None:
        with pytest.raises(Invalid, match="cursor"):
            await _page(store, ListQuery(workspace="home", kind=Kind.AGENT, limit=1, after=("soon", "x")))

    @PROPERTY
    @given(
        ages=st.lists(st.integers(0, 4), max_size=25),
        limit=st.integers(1, 7),
        sort=st.sampled_from(["createdAt:desc", "createdAt:asc", "name:asc", "name:desc"]),
        q=st.sampled_from([None, "odd", "even"]),
        wanted=st.sampled_from([frozenset(), frozenset({"FAILED"}), frozenset({"FAILED", "DEPLOYED"})]),
    )
    async def test_walking_any_list_gives_every_item_once_in_order(
        self, store: Store, ages: list[int], limit: int, sort: str, q: str | None, wanted: frozenset[str]
    ) -> None:
        workspace = f"w{next(_fresh)}"
        made = [_varied(workspace, place, age) for place, age in enumerate(ages)]
        await _insert(store, made)
        query = ListQuery(workspace=workspace, kind=Kind.AGENT, limit=limit, sort=sort, q=q, statuses=wanted)
        walked: list[Resource] = []
        positions = set()
        while True:
            page = await _page(store, query)
            walked += page.items
            assert len(page.items) <= limit
            assert page.total == len(made)
            if page.next is None:
                break
            assert page.next not in positions
            positions.add(page.next)
            query = replace(query, after=page.next)
        expected = [item for item in made if (q is None or item.labels["parity"] == q)]
        expected = [item for item in expected if not wanted or item.status in wanted]
        assert walked == _sorted(expected, sort)
        last = await _page(store, replace(query, after=None, from_end=True))
        assert last.items == walked[-limit:]


class WorkloadSuite:
    """What `Revisions`, `Replicas` and `Events` promise."""

    @pytest.fixture(autouse=True)
    async def resource(self, store: Store) -> Resource:
        await store.write(lambda tx: tx.resources.insert(make_resource()))
        return make_resource()

    async def test_revisions_of_a_resource_come_newest_first(self, store: Store) -> None:
        revisions = [make_revision(generation=generation) for generation in (2, 3, 1)]
        for revision in revisions:
            await store.write(lambda tx, revision=revision: tx.revisions.insert(revision))  # type: ignore[misc]
        found = await store.read(lambda tx: tx.revisions.of("agent-one"))
        assert [revision.generation for revision in found] == [3, 2, 1]
        assert await store.read(lambda tx: tx.revisions.get(revisions[0].id)) == revisions[0]
        assert await store.read(lambda tx: tx.revisions.get(RevisionId("rev-none"))) is None

    async def test_revisions_in_some_states_come_oldest_first(self, store: Store) -> None:
        ages = {RevisionState.BUILDING: 3, RevisionState.UPLOADING: 2, RevisionState.SERVING: 1}
        for generation, (state, age) in enumerate(ages.items(), start=1):
            made = make_revision(generation=generation, state=state, created_at=NOON + timedelta(seconds=age))
            await store.write(lambda tx, made=made: tx.revisions.insert(made))  # type: ignore[misc]
        wanted = {RevisionState.UPLOADING, RevisionState.BUILDING}
        found = await store.read(lambda tx: tx.revisions.in_states(wanted))
        assert [revision.state for revision in found] == [RevisionState.UPLOADING, RevisionState.BUILDING]
        assert await store.read(lambda tx: tx.revisions.in_states([])) == []

    async def test_a_revision_changes_only_from_the_expected_state_and_only_what_may_change(self, store: Store) -> None:
        made = make_revision(state=RevisionState.BUILDING, spec={"a": 1})
        await store.write(lambda tx: tx.revisions.insert(made))
        built = replace(
            made,
            state=RevisionState.BUILT,
            region="elsewhere",
            flavor="gpu",
            source_digest="s",
            bundle_digest="b",
            entrypoint=("python", "main.py"),
            message="done",
            updated_at=LATER,
        )
        other = replace(built, spec={"a": 2}, generation=9, created_by="me")
        assert await store.write(lambda tx: tx.revisions.replace_if_state(other, RevisionState.UPLOADING)) is False
        assert await store.read(lambda tx: tx.revisions.get(made.id)) == made
        assert await store.write(lambda tx: tx.revisions.replace_if_state(other, RevisionState.BUILDING)) is True
        assert await store.read(lambda tx: tx.revisions.get(made.id)) == built

    async def test_a_deleted_revision_is_gone(self, store: Store) -> None:
        made = make_revision()
        await store.write(lambda tx: tx.revisions.insert(made))
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.revisions.insert(made))
        await store.write(lambda tx: tx.revisions.delete(made.id))
        assert await store.read(lambda tx: tx.revisions.get(made.id)) is None

    async def test_nothing_is_added_to_a_resource_that_is_gone(self, store: Store) -> None:
        gone = make_resource("gone")
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.revisions.insert(make_revision(gone)))
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.replicas.insert(make_replica(make_revision(gone))))
        await store.write(lambda tx: tx.events.add(make_event(gone)))
        assert await store.read(lambda tx: tx.events.of(gone.uid)) == []

    async def test_replicas_are_found_by_id_unit_and_resource(self, store: Store) -> None:
        first, second = make_replica(), make_replica(ordinal=1, ready_at=None, state=ReplicaState.STARTING)
        for replica in (second, first):
            await store.write(lambda tx, replica=replica: tx.replicas.insert(replica))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.replicas.get(first.id)) == first
        assert await store.read(lambda tx: tx.replicas.by_unit(second.unit)) == second
        assert await store.read(lambda tx: tx.replicas.by_unit(UnitId("none"))) is None
        assert await store.read(lambda tx: tx.replicas.of("agent-one")) == [first, second]
        assert await store.read(lambda tx: tx.replicas.of("agent-two")) == []
        assert await store.read(lambda tx: tx.replicas.every()) == [first, second]

    async def test_replacing_a_replica_that_is_gone_is_false(self, store: Store) -> None:
        first = make_replica()
        await store.write(lambda tx: tx.replicas.insert(first))
        restarted = replace(first, unit=UnitId("unit-next"), restarts=1, state=ReplicaState.BACKOFF, ready_at=None)
        assert await store.write(lambda tx: tx.replicas.replace(restarted)) is True
        assert await store.read(lambda tx: tx.replicas.by_unit(UnitId("unit-next"))) == restarted
        assert await store.read(lambda tx: tx.replicas.by_unit(first.unit)) is None
        await store.write(lambda tx: tx.replicas.delete(first.id))
        assert await store.write(lambda tx: tx.replicas.replace(first)) is False
        assert await store.read(lambda tx: tx.replicas.get(ReplicaId(first.id))) is None

    async def test_events_are_oldest_first_and_only_the_newest_are_kept(self, store: Store) -> None:
        for number in range(6):
            event = make_event(message=str(number), revision="rev-1", reason="Accepted")
            await store.write(lambda tx, event=event: tx.events.add(event, keep=3))  # type: ignore[misc]
        found = await store.read(lambda tx: tx.events.of("agent-one"))
        assert found == [make_event(message=text, revision="rev-1", reason="Accepted") for text in "345"]


def _set_pair(tx: Transaction, value: str) -> None:
    tx.set_note("left", value)
    tx.set_note("right", value)


async def _insert(store: Store, resources: list[Resource]) -> None:
    def insert(tx: Transaction) -> None:
        for resource in resources:
            tx.resources.insert(resource)

    await store.write(insert)


async def _page(store: Store, query: ListQuery) -> ResourcePage:
    return await store.read(lambda tx: tx.resources.page(query))


def _names(page: ResourcePage) -> str:
    return "".join(resource.name for resource in page.items)


def _varied(workspace: str, place: int, age: int) -> Resource:
    return make_resource(
        f"r{place * 7 % 25}",
        uid=f"{workspace}-{place * 11 % 25:02}",
        workspace=workspace,
        labels={"parity": "odd" if place % 2 else "even"},
        status=[WorkloadStatus.DEPLOYED, WorkloadStatus.FAILED, WorkloadStatus.BUILDING][place % 3],
        created_at=NOON + timedelta(microseconds=age),
    )


def _sorted(resources: list[Resource], sort: str) -> list[Resource]:
    field, direction = sort.split(":")
    attribute = {"createdAt": "created_at", "name": "name"}[field]
    return sorted(resources, key=lambda item: (getattr(item, attribute), item.uid), reverse=direction == "desc")
