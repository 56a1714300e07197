"""The store's contract about the history of executions as tests; see `store_suite`."""

from datetime import timedelta
from typing import Any

import pytest

from homeport.core.ids import ExecutionId
from homeport.core.units import Outcome
from homeport.jobs.entries import Entry, EntryKind, StoredTask
from homeport.jobs.retry import BACKOFF_CAP_S
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.store.contract import Store, Transaction, attempt_unit
from homeport.store.records import Task
from homeport.testing.factories import NOON, make_execution, make_finish
from homeport.testing.store_suite import LATER

ONE, TWO = ExecutionId("exec-one"), ExecutionId("exec-two")
LEASE = "lease-1"
FAILED_ONCE: dict[str, Any] = {
    "outcome": Outcome(signal=9),
    "attempt_state": AttemptState.FAILED,
    "task_status": TaskStatus.PENDING,
    "not_before": LATER,
}


class HistorySuite:
    """What `Executions` promises of histories, and of what they guard."""

    @pytest.fixture(autouse=True)
    async def execution(self, store: Store) -> None:
        made = make_execution(visible=False, parallelism=2)
        await store.write(lambda tx: tx.executions.insert(made))
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 0, ["{}"] * 3, NOON))
        await store.write(lambda tx: tx.executions.publish(ONE, NOON))

    async def test_every_change_is_an_entry_and_what_changes_nothing_is_none(self, store: Store) -> None:
        unit, foreign = attempt_unit(ONE, 0, 1), attempt_unit(ONE, 1, 1)
        await _claim(store)
        for _ in range(2):  # the second time changes nothing
            await store.write(lambda tx: tx.executions.publish(ONE, LATER))
            await store.write(lambda tx: tx.executions.set_status(ONE, ExecutionStatus.RUNNING, NOON))
            await store.write(lambda tx: tx.executions.start_attempt(unit, LEASE, NOON))
            await store.write(lambda tx: tx.executions.finish_task_if_running(make_finish(unit, LEASE), LATER))
            await store.write(lambda tx: tx.executions.finish_task_if_running(make_finish(foreign, "other"), LATER))
        again = make_finish(foreign, LEASE, **FAILED_ONCE)
        await store.write(lambda tx: tx.executions.finish_task_if_running(again, NOON))
        for _ in range(2):
            await store.write(lambda tx: tx.executions.set_status(ONE, ExecutionStatus.CANCELLING, LATER))
            await store.write(lambda tx: tx.executions.cancel_pending_tasks(ONE, LATER))
            await store.write(lambda tx: tx.executions.ask_stop(ONE, 5, LATER))
        await store.write(lambda tx: tx.executions.set_status(ONE, ExecutionStatus.CANCELLED, LATER))
        ended: dict[str, Any] = {"attempt": AttemptState.SUCCEEDED, "task": TaskStatus.SUCCEEDED, "code": 0}
        failed: dict[str, Any] = {"attempt": AttemptState.FAILED, "task": TaskStatus.PENDING, "code": -9, "due": LATER}
        assert await _entries(store) == [
            Entry(seq=1, at=NOON, kind=EntryKind.ACCEPTED, amount=3),
            Entry(seq=2, at=NOON, kind=EntryKind.CLAIMED, index=0, number=1),
            Entry(seq=3, at=NOON, kind=EntryKind.CLAIMED, index=1, number=1),
            Entry(seq=4, at=NOON, kind=EntryKind.STATUS, status=ExecutionStatus.RUNNING),
            Entry(seq=5, at=NOON, kind=EntryKind.STARTED, index=0, number=1),
            Entry(seq=6, at=LATER, kind=EntryKind.ENDED, index=0, number=1, **ended),
            Entry(seq=7, at=NOON, kind=EntryKind.ENDED, index=1, number=1, **failed),
            Entry(seq=8, at=LATER, kind=EntryKind.STATUS, status=ExecutionStatus.CANCELLING),
            Entry(seq=9, at=LATER, kind=EntryKind.CANCELLED, amount=2),
            Entry(seq=10, at=LATER, kind=EntryKind.STOP_ASKED, amount=5),
            Entry(seq=11, at=LATER, kind=EntryKind.STATUS, status=ExecutionStatus.CANCELLED),
        ]

    async def test_a_history_is_read_in_pages_and_goes_with_its_execution(self, store: Store) -> None:
        await _claim(store)
        for after, limit, expected in ((0, 2, [1, 2]), (1, 9, [2, 3]), (3, 9, [])):
            found = await store.read(lambda tx, a=after, n=limit: [one.seq for one in tx.executions.entries(ONE, a, n)])  # type: ignore[misc]
            assert found == expected
        assert await _entries(store, TWO) == []
        await store.write(lambda tx: tx.executions.insert(make_execution("exec-two", visible=False)))
        await store.write(lambda tx: tx.executions.discard_staged([]))
        await store.write(lambda tx: tx.executions.insert(make_execution("exec-two", visible=False)))
        await store.write(lambda tx: tx.executions.publish(TWO, LATER))
        assert await _entries(store, TWO) == [Entry(seq=1, at=LATER, kind=EntryKind.ACCEPTED, amount=0)]

    async def test_what_a_write_that_fails_logged_is_not_there(self, store: Store) -> None:
        def work(tx: Transaction) -> None:
            tx.executions.claim(ONE, 1, NOON, LEASE, LATER)
            raise RuntimeError("a bug")

        with pytest.raises(RuntimeError):
            await store.write(work)
        assert [entry.kind for entry in await _entries(store)] == [EntryKind.ACCEPTED]

    async def test_stored_tasks_come_with_how_their_attempts_stand(self, store: Store) -> None:
        await _claim(store)
        await store.write(lambda tx: tx.executions.start_attempt(attempt_unit(ONE, 1, 1), LEASE, NOON))
        again = make_finish(attempt_unit(ONE, 0, 1), LEASE, **FAILED_ONCE)
        await store.write(lambda tx: tx.executions.finish_task_if_running(again, NOON))
        await _claim(store, now=LATER)
        assert await store.read(lambda tx: [*tx.executions.stored_tasks(ONE)]) == [
            StoredTask(index=0, status=TaskStatus.RUNNING, attempts=(AttemptState.FAILED, AttemptState.STARTING)),
            StoredTask(index=1, status=TaskStatus.RUNNING, attempts=(AttemptState.RUNNING,)),
            StoredTask(index=2, status=TaskStatus.PENDING, attempts=()),
        ]

    async def test_claims_never_exceed_the_parallelism_whatever_is_asked_for(self, store: Store) -> None:
        assert [len(await _claim(store)) for _ in range(2)] == [2, 0]
        await store.write(
            lambda tx: tx.executions.finish_task_if_running(make_finish(attempt_unit(ONE, 0, 1), LEASE), LATER)
        )
        assert [task.index for task in await _claim(store)] == [2]

    @pytest.mark.parametrize("status", [ExecutionStatus.CANCELLING, ExecutionStatus.FAILED])
    async def test_nothing_is_claimed_of_what_is_being_cancelled_or_over(
        self, store: Store, status: ExecutionStatus
    ) -> None:
        await store.write(lambda tx: tx.executions.set_status(ONE, status, NOON))
        assert await _claim(store) == []

    async def test_a_retry_further_ahead_than_any_back_off_is_due(self, store: Store) -> None:
        await _claim(store)
        again = make_finish(attempt_unit(ONE, 0, 1), LEASE, **FAILED_ONCE)
        await store.write(lambda tx: tx.executions.finish_task_if_running(again, NOON))
        cap = timedelta(seconds=BACKOFF_CAP_S)
        assert [task.index for task in await _claim(store, now=LATER - cap)] == [2]
        await store.write(
            lambda tx: tx.executions.finish_task_if_running(make_finish(attempt_unit(ONE, 2, 1), LEASE), LATER)
        )
        assert [task.index for task in await _claim(store, now=LATER - cap - timedelta(hours=5))] == [0]

    async def test_stopping_is_asked_of_what_is_being_cancelled_and_the_shortest_grace_stays(
        self, store: Store
    ) -> None:
        async def ask(grace_s: int) -> int | None:
            await store.write(lambda tx: tx.executions.ask_stop(ONE, grace_s, NOON))
            found = await store.read(lambda tx: tx.executions.get(ONE))
            assert found is not None
            return found.stop_grace_s

        assert await ask(5) is None
        await store.write(lambda tx: tx.executions.set_status(ONE, ExecutionStatus.CANCELLING, NOON))
        assert [await ask(grace_s) for grace_s in (5, 9, 0)] == [5, 5, 0]

    async def test_attempts_that_are_lost_are_counted(self, store: Store) -> None:
        await _claim(store)
        states: dict[str, Any] = {
            "attempt_state": AttemptState.LOST,
            "outcome": Outcome(lost=True),
            "task_status": TaskStatus.FAILED,
        }
        lost = make_finish(attempt_unit(ONE, 0, 1), LEASE, **states)
        await store.write(lambda tx: tx.executions.finish_task_if_running(lost, NOON))
        found = await store.read(lambda tx: tx.executions.get(ONE))
        assert found is not None
        assert (found.lost, found.failed, found.running) == (1, 1, 1)


async def _claim(store: Store, now: object = NOON) -> list[Task]:
    return await store.write(lambda tx: tx.executions.claim(ONE, 5, now, LEASE, LATER))  # type: ignore[arg-type]


async def _entries(store: Store, execution_id: ExecutionId = ONE) -> list[Entry]:
    return await store.read(lambda tx: [*tx.executions.entries(execution_id, 0, 100)])
