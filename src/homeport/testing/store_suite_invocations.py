"""What every store promises about asynchronous calls and schedules."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus
from homeport.store.contract import Store
from homeport.store.invocation_records import (
    Callback,
    Invocation,
    InvocationAttempt,
    InvocationQuery,
    Schedule,
)
from homeport.testing.factories import NOON, make_resource


def make_call(ident: str = "inv-one", **changes: Any) -> Invocation:
    call = Invocation(
        id=ident,
        workspace="home",
        agent="one",
        agent_uid="uid-one",
        trigger="",
        method="POST",
        path="/",
        status=InvocationStatus.QUEUED,
        retries=0,
        timeout_s=900,
        not_before=NOON,
        created_at=NOON,
        updated_at=NOON,
        request_length=0,
    )
    return replace(call, **changes)


async def accepted(store: Store, *calls: Invocation) -> list[Invocation]:
    """The calls as the store has them."""
    await store.write(lambda tx: tx.invocations.add(calls, [call.id.encode() for call in calls]))
    found = [await store.read(lambda tx, ident=call.id: tx.invocations.get(ident)) for call in calls]  # type: ignore[misc]
    return [call for call in found if call is not None]


def ended(call: Invocation, at: datetime) -> Invocation:
    return replace(call, status=InvocationStatus.SUCCEEDED, completed_at=at, updated_at=at)


class InvocationSuite:
    """What `Invocations` and `Schedules` promise."""

    async def test_calls_are_kept_in_the_order_of_acceptance_and_each_only_once(self, store: Store) -> None:
        calls = await accepted(store, make_call("inv-b"), make_call("inv-a"))
        assert [call.number for call in calls] == [1, 2]
        again = [replace(calls[0], path="/other"), make_call("inv-c")]
        added = await store.write(lambda tx: tx.invocations.add(again, [b"x", b"y"]))
        assert [call.id for call in added] == ["inv-c"]
        assert await store.read(lambda tx: tx.invocations.get("inv-b")) == calls[0]
        assert await store.read(lambda tx: tx.invocations.requests([1, 3])) == {1: b"inv-b", 3: b"y"}

    async def test_a_change_writes_what_may_change_and_an_answer_is_kept_beside_it(self, store: Store) -> None:
        (call,) = await accepted(store, make_call())
        changed = replace(
            call,
            status=InvocationStatus.FAILED,
            attempts=2,
            counted=1,
            lease="edge",
            message="answered 500",
            started_at=NOON,
            completed_at=NOON,
            cancel_requested_at=NOON,
            response_status=500,
            response_length=3,
        )
        await store.write(lambda tx: tx.invocations.change([changed]))
        await store.write(lambda tx: tx.invocations.set_responses({call.number: b"\x00no"}))
        assert await store.read(lambda tx: tx.invocations.numbered([call.number])) == {call.number: changed}
        assert await store.read(lambda tx: tx.invocations.response(call.number)) == b"\x00no"

    async def test_what_is_due_is_found_by_agent_the_longest_due_first(self, store: Store) -> None:
        later, far = NOON + timedelta(minutes=1), NOON + timedelta(days=400)
        calls = [
            make_call("inv-later", not_before=later),
            make_call("inv-second"),
            make_call("inv-first", not_before=NOON - timedelta(seconds=1)),
            make_call("inv-far", not_before=far),  # as a clock that was set back leaves it
            make_call("inv-runs", status=InvocationStatus.RUNNING),
            make_call("inv-other", agent="two", agent_uid="uid-two", not_before=later),
        ]
        await accepted(store, *calls)
        due = await store.read(lambda tx: tx.invocations.due("uid-one", 9, NOON))
        assert [call.id for call in due] == ["inv-first", "inv-second", "inv-far"]
        queues = {one.agent_uid: one for one in await store.read(lambda tx: tx.invocations.queues(NOON, 2))}
        assert (queues["uid-one"].due, queues["uid-one"].running) == (2, 1)
        assert (queues["uid-two"].due, queues["uid-two"].oldest) == (0, later)
        assert await store.read(lambda tx: tx.invocations.count_open()) == (5, 1)
        running = make_call("inv-runs", lease="edge", cancel_requested_at=NOON)
        await store.write(
            lambda tx: tx.invocations.change([replace(running, number=5, status=InvocationStatus.RUNNING)])
        )
        assert await store.read(lambda tx: tx.invocations.under_way()) == [(5, "inv-runs", "edge", True)]
        found = await store.read(lambda tx: tx.invocations.by_ids(["inv-runs", "inv-none"]))
        assert [(call.id, call.lease) for call in found] == [("inv-runs", "edge")]
        assert await store.read(lambda tx: tx.invocations.waits_more_than("uid-one", 3))
        assert not await store.read(lambda tx: tx.invocations.waits_more_than("uid-one", 4))
        assert await store.read(lambda tx: tx.invocations.next_at()) == NOON - timedelta(seconds=1)

    async def test_attempts_begin_end_and_are_dropped(self, store: Store) -> None:
        (call,) = await accepted(store, make_call())
        begun = [
            InvocationAttempt(invocation=call.number, number=number, end=AttemptEnd.RUNNING, started_at=NOON)
            for number in (1, 2)
        ]
        answered = replace(begun[0], end=AttemptEnd.ANSWERED, ended_at=NOON, status=200, reason="x")
        await store.write(lambda tx: tx.invocations.add_attempts(begun))
        await store.write(lambda tx: tx.invocations.end_attempts([answered]))
        assert await store.read(lambda tx: tx.invocations.attempts(call.number)) == [answered, begun[1]]
        await store.write(lambda tx: tx.invocations.drop_attempts([(call.number, 2)]))
        assert await store.read(lambda tx: tx.invocations.attempts(call.number)) == [answered]

    async def test_callbacks_wait_are_sent_and_end(self, store: Store) -> None:
        calls = await accepted(store, make_call("inv-a"), make_call("inv-b"))
        one, two = (
            Callback(
                invocation=call.number,
                status=CallbackStatus.WAITING,
                not_before=NOON + timedelta(seconds=index),
                updated_at=NOON,
            )
            for index, call in enumerate(calls)
        )
        await store.write(lambda tx: tx.invocations.add_callbacks([one, two]))
        assert await store.read(lambda tx: tx.invocations.due_callbacks(9, NOON)) == [one]
        sending = replace(one, status=CallbackStatus.SENDING, lease="edge", attempts=1)
        await store.write(lambda tx: tx.invocations.change_callbacks([sending]))
        assert await store.read(lambda tx: tx.invocations.sending()) == [sending]
        assert await store.read(lambda tx: tx.invocations.due_callbacks(9, NOON)) == []
        delivered = replace(sending, status=CallbackStatus.DELIVERED, lease=None, answer=204)
        await store.write(lambda tx: tx.invocations.change_callbacks([delivered]))
        assert await store.read(lambda tx: tx.invocations.callback(one.invocation)) == delivered
        assert await store.read(lambda tx: tx.invocations.sending()) == []

    async def test_pages_follow_each_other_and_keep_to_their_filters(self, store: Store) -> None:
        calls = [make_call(f"inv-{index}", created_at=NOON + timedelta(seconds=index)) for index in range(5)]
        calls.append(make_call("inv-two", agent="two"))
        calls.append(make_call("inv-away", workspace="away"))
        calls.append(make_call("inv-done", status=InvocationStatus.SUCCEEDED))
        await accepted(store, *calls)

        async def idents(**asked: Any) -> list[str]:
            query = InvocationQuery(**{"workspace": "home", "limit": 9, **asked})
            return [call.id for call in (await store.read(lambda tx: tx.invocations.page(query))).items]

        first = await store.read(
            lambda tx: tx.invocations.page(InvocationQuery(workspace="home", agent="one", limit=4))
        )
        assert [call.id for call in first.items] == ["inv-done", "inv-4", "inv-3", "inv-2"]
        assert await idents(agent="one", after=first.next) == ["inv-1", "inv-0"]
        assert await idents(agent="two") == ["inv-two"]
        assert await idents(statuses=frozenset({InvocationStatus.SUCCEEDED})) == ["inv-done"]
        span = {"since": NOON + timedelta(seconds=2), "until": NOON + timedelta(seconds=4)}
        assert await idents(**span, ascending=True) == ["inv-2", "inv-3"]

    async def test_old_and_numerous_calls_are_swept_with_all_of_theirs(self, store: Store) -> None:
        names = ("old", "waits", "a", "b", "c")
        calls = await accepted(store, *(make_call(f"inv-{name}") for name in names))
        old, waits, *young = calls
        later = NOON + timedelta(hours=1)
        waiting = Callback(invocation=waits.number, status=CallbackStatus.WAITING, not_before=NOON, updated_at=NOON)
        await store.write(lambda tx: tx.invocations.add_callbacks([waiting]))
        changed = [ended(old, NOON), ended(waits, NOON), *(ended(call, later) for call in young)]
        await store.write(lambda tx: tx.invocations.change(changed))

        by_age = await store.read(lambda tx: tx.invocations.sweepable(later, 9, 9))
        assert by_age == [old.number]
        by_count = await store.read(lambda tx: tx.invocations.sweepable(NOON, 2, 9))
        assert by_count == [old.number, young[0].number]
        await store.write(lambda tx: tx.invocations.remove(by_count))
        assert await store.read(lambda tx: tx.invocations.get("inv-old")) is None
        assert await store.read(lambda tx: tx.invocations.requests(by_count)) == {}

    async def test_what_is_sealed_is_rewritten(self, store: Store) -> None:
        one, two = await accepted(store, make_call("inv-a", callback_secret="s"), make_call("inv-b"))
        await store.write(lambda tx: tx.invocations.set_responses({one.number: b"answer"}))
        bodies = await store.write(lambda tx: tx.invocations.rewrite_bodies(lambda call, was: was + call.id.encode()))
        secrets = await store.write(
            lambda tx: tx.invocations.rewrite_callback_secrets(lambda call: f"{call.callback_secret}-anew")
        )
        assert (bodies, secrets) == (2, 1)
        assert await store.read(lambda tx: tx.invocations.requests([two.number])) == {two.number: b"inv-binv-b"}
        assert await store.read(lambda tx: tx.invocations.response(one.number)) == b"answerinv-a"
        found = await store.read(lambda tx: tx.invocations.get("inv-a"))
        assert found is not None and found.callback_secret == "s-anew"

    async def test_schedules_are_replaced_checked_and_go_with_their_agent(self, store: Store) -> None:
        agent = make_resource("one")
        await store.write(lambda tx: tx.resources.insert(agent))
        soon, later = NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)
        two = [
            Schedule(resource_uid=agent.uid, trigger=name, expression="* * * * *", checked_at=NOON, next_at=at)
            for name, at in (("b", soon), ("a", later))
        ]
        await store.write(lambda tx: tx.schedules.set(agent.uid, two))
        assert await store.read(lambda tx: tx.schedules.due(soon, 9)) == [two[0]]
        assert await store.read(lambda tx: tx.schedules.next_at()) == soon
        moved = replace(two[0], checked_at=soon, next_at=later)
        await store.write(lambda tx: tx.schedules.check(moved))
        assert moved in await store.read(lambda tx: tx.schedules.of(agent.uid))
        await store.write(lambda tx: tx.schedules.set(agent.uid, [two[1]]))
        assert await store.read(lambda tx: tx.schedules.of(agent.uid)) == [two[1]]
        await store.write(lambda tx: tx.resources.delete(agent.uid))
        assert await store.read(lambda tx: tx.schedules.next_at()) is None
