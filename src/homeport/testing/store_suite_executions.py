"""The store's contract about executions, tasks and attempts as tests; see `store_suite`."""

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.errors import Conflict, Internal, Invalid, NotFound
from homeport.core.ids import ExecutionId, UnitId
from homeport.core.units import Outcome
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.store.contract import Store, attempt_unit
from homeport.store.records import Execution, Task, TaskFinish, TaskQuery
from homeport.testing.factories import NOON, make_execution, make_finish, page_query
from homeport.testing.store_suite import LATER, PROPERTY

ONE = ExecutionId("exec-one")
LEASE = "lease-1"
_fresh = itertools.count()


class ExecutionSuite:
    """What `Executions` promises of executions."""

    async def test_an_execution_comes_back_as_it_was_written(self, store: Store) -> None:
        made = make_execution(env_override={"A": "1"}, memory_override=256, started_at=NOON, cancel_requested_at=LATER)
        await store.write(lambda tx: tx.executions.insert(made))
        assert await store.read(lambda tx: tx.executions.get(ONE)) == made
        assert await store.read(lambda tx: tx.executions.get(ExecutionId("exec-none"))) is None

    async def test_an_id_is_taken_once(self, store: Store) -> None:
        await store.write(lambda tx: tx.executions.insert(make_execution()))
        with pytest.raises(Conflict, match="exec-one"):
            await store.write(lambda tx: tx.executions.insert(make_execution(request_id="another")))

    async def test_a_staged_execution_is_invisible_until_it_is_published(self, store: Store) -> None:
        staged = make_execution(visible=False)
        await store.write(lambda tx: tx.executions.insert(staged))
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 0, ["{}"], NOON))
        assert await _seen(store) == (0, 0, None)
        assert await store.read(lambda tx: tx.executions.get(ONE)) is not None
        await store.write(lambda tx: tx.executions.publish(ONE, LATER))
        counts, unfinished, found = await _seen(store)
        assert (counts, unfinished) == (1, 1)
        assert found == replace(staged, visible=True, updated_at=LATER, total=1, pending=1)

    async def test_the_second_publication_of_a_request_conflicts(self, store: Store) -> None:
        for name in ("exec-one", "exec-two"):
            made = make_execution(name, visible=False, request_id="req")
            await store.write(lambda tx, made=made: tx.executions.insert(made))  # type: ignore[misc]
        await store.write(lambda tx: tx.executions.publish(ONE, NOON))
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.executions.publish(ExecutionId("exec-two"), NOON))
        await store.write(lambda tx: tx.executions.insert(make_execution("exec-3", job="other", request_id="req")))

    async def test_abandoned_staging_is_discarded_with_its_tasks(self, store: Store) -> None:
        old, new = make_execution(visible=False), make_execution("exec-new", visible=False, created_at=LATER)
        for made in (old, new, make_execution("exec-visible")):
            await store.write(lambda tx, made=made: tx.executions.insert(made))  # type: ignore[misc]
            await store.write(lambda tx, made=made: tx.executions.add_tasks(made.id, 0, ["{}"], NOON))  # type: ignore[misc]
        assert await store.write(lambda tx: tx.executions.discard_staged({ExecutionId("exec-new")})) == 1
        assert await store.read(lambda tx: tx.executions.get(ONE)) is None
        assert await store.read(lambda tx: tx.executions.task(ONE, 0)) is None
        for kept in ("exec-new", "exec-visible"):
            task = await store.read(lambda tx, kept=kept: tx.executions.task(ExecutionId(kept), 0))  # type: ignore[misc]
            assert task is not None

    async def test_pages_hold_one_jobs_visible_executions_newest_first(self, store: Store) -> None:
        for age in range(5):
            made = make_execution(f"exec-{age}", created_at=NOON + timedelta(seconds=age // 2))
            await store.write(lambda tx, made=made: tx.executions.insert(made))  # type: ignore[misc]
        for hidden in (make_execution("exec-x", visible=False), make_execution("exec-y", job="other")):
            await store.write(lambda tx, hidden=hidden: tx.executions.insert(hidden))  # type: ignore[misc]
        walked, after = [], None
        while True:
            page = await store.read(lambda tx, after=after: tx.executions.page(page_query(2, after)))  # type: ignore[misc]
            walked += [execution.id for execution in page.items]
            assert page.total == 5
            if (after := page.next) is None:
                break
        assert walked == ["exec-4", "exec-3", "exec-2", "exec-1", "exec-0"]
        third = await store.read(lambda tx: tx.executions.page(page_query(2, None, offset=2)))
        assert [execution.id for execution in third.items] == ["exec-2", "exec-1"]
        with pytest.raises(Invalid, match="cursor"):
            await store.read(lambda tx: tx.executions.page(page_query(2, ("x", "y"))))

    async def test_pages_of_executions_have_an_order_and_a_filter(self, store: Store) -> None:
        for age, name in enumerate(("b-1", "A-2", "a-3_x")):
            made = make_execution(name, created_at=NOON + timedelta(seconds=age))
            await store.write(lambda tx, made=made: tx.executions.insert(made))  # type: ignore[misc]
        expected = {
            "createdAt:asc": ["b-1", "A-2", "a-3_x"],
            "createdAt:desc": ["a-3_x", "A-2", "b-1"],
            "name:asc": ["A-2", "a-3_x", "b-1"],
            "name:desc": ["b-1", "a-3_x", "A-2"],
        }
        for sort, names in expected.items():
            walked: list[str] = []
            after = None
            while True:
                query = page_query(1, after, sort=sort)
                page = await store.read(lambda tx, query=query: tx.executions.page(query))  # type: ignore[misc]
                walked += [execution.id for execution in page.items]
                if (after := page.next) is None:
                    break
            assert walked == names, sort
        for q, found in (("a-", ["a-3_x", "A-2"]), ("3_", ["a-3_x"]), ("b%", []), ("__", [])):
            query = page_query(5, q=q)
            page = await store.read(lambda tx, query=query: tx.executions.page(query))  # type: ignore[misc]
            assert ([execution.id for execution in page.items], page.total) == (found, 3)

    async def test_unfinished_executions_come_oldest_first(self, store: Store) -> None:
        for age, status in enumerate(reversed(ExecutionStatus)):
            made = make_execution(f"exec-{status}", status=status, created_at=NOON - timedelta(seconds=age))
            await store.write(lambda tx, made=made: tx.executions.insert(made))  # type: ignore[misc]
        found = await store.read(lambda tx: tx.executions.unfinished())
        assert [execution.status for execution in found] == ["queued", "pending", "running", "cancelling"]

    async def test_a_status_records_when_it_was_first_reached(self, store: Store) -> None:
        await store.write(lambda tx: tx.executions.insert(make_execution()))
        moments = [NOON + timedelta(seconds=second) for second in range(5)]
        order = (ExecutionStatus.RUNNING, ExecutionStatus.RUNNING, ExecutionStatus.CANCELLING)
        for status, moment in zip(
            (*order, ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED), moments, strict=True
        ):
            await store.write(lambda tx, s=status, m=moment: tx.executions.set_status(ONE, s, m))  # type: ignore[misc]
        found = await _execution(store)
        assert found.status is ExecutionStatus.CANCELLED
        reached = (found.started_at, found.cancel_requested_at, found.completed_at, found.updated_at)
        assert reached == (moments[0], moments[2], moments[4], moments[4])

    @pytest.mark.parametrize("end", [status for status in ExecutionStatus if status.terminal])
    async def test_a_terminal_status_never_changes_again(self, store: Store, end: ExecutionStatus) -> None:
        await store.write(lambda tx: tx.executions.insert(make_execution()))
        await store.write(lambda tx: tx.executions.set_status(ONE, end, NOON))
        ended = await _execution(store)
        for status in ExecutionStatus:
            await store.write(lambda tx, status=status: tx.executions.set_status(ONE, status, LATER))  # type: ignore[misc]
        assert await _execution(store) == ended


class TaskSuite:
    """What `Executions` promises of tasks and attempts."""

    @pytest.fixture(autouse=True)
    async def execution(self, store: Store) -> None:
        await store.write(lambda tx: tx.executions.insert(make_execution(parallelism=100)))
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 0, ['{"n":0}', '{"n":1}'], NOON))
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 2, ['{"n":2}'], NOON))

    async def test_staged_tasks_are_pending_and_counted(self, store: Store) -> None:
        tasks = await store.read(lambda tx: tx.executions.tasks(ONE, 0, 10))
        assert [(task.index, task.arguments) for task in tasks] == [(n, f'{{"n":{n}}}') for n in range(3)]
        assert {(task.status, task.attempts, task.created_at) for task in tasks} == {(TaskStatus.PENDING, 0, NOON)}
        found = await _execution(store)
        assert (found.total, found.pending) == (3, 3)
        assert await store.read(lambda tx: tx.executions.tasks(ONE, 1, 1)) == [tasks[1]]
        assert await store.read(lambda tx: tx.executions.task(ONE, 2)) == tasks[2]
        assert await store.read(lambda tx: tx.executions.task(ONE, 3)) is None

    async def test_pages_of_tasks_have_an_order_and_a_filter(self, store: Store) -> None:
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 3, ["{}"] * 8, NOON))

        async def walk(limit: int, **more: Any) -> list[int]:
            walked: list[int] = []
            following, after = True, None
            while following:
                query = TaskQuery(execution_id=ONE, limit=limit, after=after, **more)
                items, following = await store.read(lambda tx, query=query: tx.executions.task_page(query))  # type: ignore[misc]
                walked += [task.index for task in items]
                after = walked[-1] if walked else None
            return walked

        assert await walk(4) == list(range(11))
        assert await walk(4, descending=True) == list(range(10, -1, -1))
        assert await walk(1, q="k-1") == [1, 10]
        assert await walk(1, q="k-1", descending=True) == [10, 1]
        assert await walk(3, q="task") == list(range(11))
        assert await walk(3, q="%_") == []

    async def test_tasks_are_added_once_and_to_an_execution_that_exists(self, store: Store) -> None:
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.executions.add_tasks(ONE, 2, ["{}", "{}"], NOON))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.executions.add_tasks(ExecutionId("exec-none"), 0, ["{}"], NOON))
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 3, [], NOON))
        assert (await _execution(store)).total == 3

    async def test_a_claim_takes_the_lowest_tasks_with_a_lease_and_an_attempt_each(self, store: Store) -> None:
        first, second = await _claim(store, 2)
        assert (first.index, second.index) == (0, 1)
        assert (first.status, first.attempts, first.lease) == (TaskStatus.RUNNING, 1, LEASE)
        assert (first.lease_until, first.scheduled_at, first.started_at) == (LATER, NOON, None)
        assert await store.read(lambda tx: tx.executions.task(ONE, 0)) == first
        attempt = await store.read(lambda tx: tx.executions.attempt(attempt_unit(ONE, 0, 1)))
        assert attempt is not None
        assert (attempt.index, attempt.number, attempt.state) == (0, 1, AttemptState.STARTING)
        assert (attempt.unit, attempt.created_at, attempt.outcome) == ("exec-one-0-1", NOON, None)
        found = await _execution(store)
        assert (found.pending, found.running) == (1, 2)
        assert [task.index for task in await _claim(store, 5)] == [2]
        assert await _claim(store, 5) == []

    async def test_claims_at_the_same_time_never_take_the_same_task(self, store: Store) -> None:
        await store.write(lambda tx: tx.executions.add_tasks(ONE, 3, ["{}"] * 57, NOON))
        claims = await asyncio.gather(*(_claim(store, 7, lease=f"lease-{number}") for number in range(12)))
        taken = [task.index for claim in claims for task in claim]
        assert sorted(taken) == list(range(60))

    async def test_a_claim_of_one_execution_leaves_the_others_alone(self, store: Store) -> None:
        await store.write(lambda tx: tx.executions.insert(make_execution("exec-two")))
        await store.write(lambda tx: tx.executions.add_tasks(ExecutionId("exec-two"), 0, ["{}"], NOON))
        await _claim(store, 10)
        task = await store.read(lambda tx: tx.executions.task(ExecutionId("exec-two"), 0))
        assert task is not None
        assert task.status is TaskStatus.PENDING

    async def test_an_attempt_starts_once_and_only_under_its_lease(self, store: Store) -> None:
        await _claim(store, 1)
        unit = attempt_unit(ONE, 0, 1)
        assert await store.write(lambda tx: tx.executions.start_attempt(unit, "foreign", LATER)) is False
        assert await store.write(lambda tx: tx.executions.start_attempt(unit, LEASE, LATER)) is True
        assert await store.write(lambda tx: tx.executions.start_attempt(unit, LEASE, LATER)) is False
        attempt = await store.read(lambda tx: tx.executions.attempt(unit))
        task = await store.read(lambda tx: tx.executions.task(ONE, 0))
        assert attempt is not None and task is not None
        assert (attempt.state, attempt.started_at, task.started_at) == (AttemptState.RUNNING, LATER, LATER)

    @pytest.mark.parametrize("unit", ["", "exec-one", "exec-one-0", "exec-one-x-1", "exec-one-0-9", f"a-{'9' * 40}-1"])
    async def test_a_unit_that_is_no_attempt_is_answered_with_nothing(self, store: Store, unit: UnitId) -> None:
        assert await store.read(lambda tx: tx.executions.attempt(unit)) is None
        assert await store.write(lambda tx: tx.executions.start_attempt(unit, LEASE, NOON)) is False
        assert await _finish(store, make_finish(unit, LEASE)) is False

    @pytest.mark.parametrize("started", [False, True])
    async def test_an_open_attempt_finishes_once(self, store: Store, started: bool) -> None:
        await _claim(store, 1)
        unit = attempt_unit(ONE, 0, 1)
        if started:
            await store.write(lambda tx: tx.executions.start_attempt(unit, LEASE, NOON))
        outcome = Outcome(exit_code=3, peak_memory_mb=12, reason="exit code 3")
        failed = make_finish(
            unit,
            LEASE,
            outcome=outcome,
            attempt_state=AttemptState.FAILED,
            task_status=TaskStatus.FAILED,
            message="exit code 3",
        )
        assert await _finish(store, replace(failed, lease="foreign")) is False
        assert await _finish(store, failed) is True
        after = await _execution(store)
        assert await _finish(store, replace(failed, task_status=TaskStatus.SUCCEEDED)) is False
        assert await _execution(store) == after
        task = await store.read(lambda tx: tx.executions.task(ONE, 0))
        attempt = await store.read(lambda tx: tx.executions.attempt(unit))
        assert attempt is not None and task is not None
        assert (task.status, task.lease, task.lease_until) == (TaskStatus.FAILED, None, None)
        assert (task.completed_at, task.message) == (LATER, "exit code 3")
        assert (attempt.state, attempt.ended_at, attempt.outcome) == (AttemptState.FAILED, LATER, outcome)
        assert (after.pending, after.running, after.failed, after.retried) == (2, 0, 1, 0)

    async def test_a_retry_waits_for_its_time_and_is_a_new_attempt(self, store: Store) -> None:
        await _claim(store, 3)
        again = make_finish(
            attempt_unit(ONE, 1, 1),
            LEASE,
            outcome=Outcome(lost=True),
            attempt_state=AttemptState.LOST,
            task_status=TaskStatus.PENDING,
            not_before=LATER,
        )
        assert await _finish(store, again) is True
        waiting = await store.read(lambda tx: tx.executions.task(ONE, 1))
        assert waiting is not None
        assert (waiting.status, waiting.not_before, waiting.completed_at) == (TaskStatus.PENDING, LATER, None)
        found = await _execution(store)
        assert (found.pending, found.running, found.retried) == (1, 2, 1)
        just_before = LATER - timedelta(microseconds=1)
        claim = lambda now: store.write(lambda tx: tx.executions.claim(ONE, 9, now, "lease-2", now))  # noqa: E731
        assert await claim(just_before) == []
        (task,) = await claim(LATER)
        assert (task.index, task.attempts, task.lease, task.scheduled_at) == (1, 2, "lease-2", NOON)
        attempts = await store.read(lambda tx: tx.executions.attempts(ONE, 1))
        assert [(one.number, one.state) for one in attempts] == [(1, AttemptState.LOST), (2, AttemptState.STARTING)]
        assert await _finish(store, make_finish(attempt_unit(ONE, 1, 1), "lease-2")) is False

    async def test_a_failure_counts_as_timed_out_only_if_its_last_attempt_was(self, store: Store) -> None:
        await _claim(store, 3)
        late = {"outcome": Outcome(signal=9, timed_out=True), "attempt_state": AttemptState.TIMED_OUT}
        await _finish(store, make_finish(attempt_unit(ONE, 0, 1), LEASE, task_status=TaskStatus.FAILED, **late))
        await _finish(store, make_finish(attempt_unit(ONE, 1, 1), LEASE, task_status=TaskStatus.PENDING, **late))
        failed = {"task_status": TaskStatus.FAILED, "attempt_state": AttemptState.FAILED}
        await _finish(store, make_finish(attempt_unit(ONE, 2, 1), LEASE, **failed))
        found = await _execution(store)
        assert (found.failed, found.timed_out, found.retried) == (2, 1, 1)

    async def test_a_due_retry_is_claimed_before_later_tasks(self, store: Store) -> None:
        await _claim(store, 1)
        await _finish(store, _retry(attempt_unit(ONE, 0, 1), NOON))
        assert [task.index for task in await _claim(store, 2)] == [0, 1]

    async def test_an_end_that_is_none_is_a_mistake(self, store: Store) -> None:
        await _claim(store, 1)
        unit = attempt_unit(ONE, 0, 1)
        wrong = (
            make_finish(unit, LEASE, attempt_state=AttemptState.RUNNING),
            make_finish(unit, LEASE, task_status=TaskStatus.RUNNING),
        )
        for finish in wrong:
            with pytest.raises(Internal):
                await _finish(store, finish)

    async def test_cancelling_ends_pending_tasks_only(self, store: Store) -> None:
        await _claim(store, 1)
        assert await store.write(lambda tx: tx.executions.cancel_pending_tasks(ONE, LATER)) == 2
        assert await store.write(lambda tx: tx.executions.cancel_pending_tasks(ONE, LATER)) == 0
        tasks = await store.read(lambda tx: tx.executions.tasks(ONE, 0, 10))
        states = [(task.status, task.completed_at) for task in tasks]
        assert states == [(TaskStatus.RUNNING, None), *[(TaskStatus.CANCELLED, LATER)] * 2]
        found = await _execution(store)
        assert (found.pending, found.running, found.cancelled) == (0, 1, 2)

    async def test_open_attempts_are_those_that_have_not_ended_with_their_lease(self, store: Store) -> None:
        await _claim(store, 1, lease="lease-a")
        await _claim(store, 2, lease="lease-b")
        await store.write(lambda tx: tx.executions.start_attempt(attempt_unit(ONE, 1, 1), "lease-b", NOON))
        await _finish(store, make_finish(attempt_unit(ONE, 2, 1), "lease-b"))
        found = await store.read(lambda tx: tx.executions.open_attempts())
        shown = [(attempt.unit, attempt.state.value, lease) for attempt, lease in found]
        assert shown == [("exec-one-0-1", "starting", "lease-a"), ("exec-one-1-1", "running", "lease-b")]

    @PROPERTY
    @given(
        steps=st.lists(
            st.tuples(st.sampled_from(["claim", "start", "succeed", "fail", "retry", "cancel"]), st.integers(0, 4)),
            max_size=30,
        )
    )
    async def test_counts_add_up_after_any_sequence(self, store: Store, steps: list[tuple[str, int]]) -> None:
        name = ExecutionId(f"exec-n{next(_fresh)}")
        await store.write(lambda tx: tx.executions.insert(make_execution(name)))
        await store.write(lambda tx: tx.executions.add_tasks(name, 0, ["{}"] * 5, NOON))
        for step, index in steps:
            await _step(store, name, step, index)
            tasks = await store.read(lambda tx: tx.executions.tasks(name, 0, 10))
            found = await _execution(store, name)
            counted = {status: sum(task.status is status for task in tasks) for status in TaskStatus}
            shown = (found.pending, found.running, found.succeeded, found.failed, found.cancelled)
            assert shown == tuple(counted.values())
            assert found.total == sum(shown) == 5
            attempts = await store.read(lambda tx: [len(tx.executions.attempts(name, index)) for index in range(5)])
            assert attempts == [task.attempts for task in tasks]


async def _step(store: Store, name: ExecutionId, step: str, index: int) -> None:
    task = await store.read(lambda tx: tx.executions.task(name, index))
    assert task is not None
    unit = attempt_unit(name, index, task.attempts)
    if step == "claim":
        await store.write(lambda tx: tx.executions.claim(name, index, NOON, LEASE, LATER))
    elif step == "start":
        await store.write(lambda tx: tx.executions.start_attempt(unit, LEASE, NOON))
    elif step == "cancel":
        await store.write(lambda tx: tx.executions.cancel_pending_tasks(name, NOON))
    elif step == "retry":
        await _finish(store, _retry(unit, NOON))
    else:
        end = TaskStatus.SUCCEEDED if step == "succeed" else TaskStatus.FAILED
        await _finish(store, make_finish(unit, LEASE, task_status=end))


def _retry(unit: UnitId, not_before: object) -> TaskFinish:
    states = {"attempt_state": AttemptState.FAILED, "task_status": TaskStatus.PENDING}
    return make_finish(unit, LEASE, outcome=Outcome(exit_code=1), not_before=not_before, **states)


async def _claim(store: Store, limit: int, lease: str = LEASE) -> list[Task]:
    return await store.write(lambda tx: tx.executions.claim(ONE, limit, NOON, lease, LATER))


async def _finish(store: Store, finish: TaskFinish) -> bool:
    return await store.write(lambda tx: tx.executions.finish_task_if_running(finish, LATER))


async def _execution(store: Store, name: ExecutionId = ONE) -> Execution:
    found = await store.read(lambda tx: tx.executions.get(name))
    assert found is not None
    return found


async def _seen(store: Store) -> tuple[int, int, Execution | None]:
    """What shows `exec-one` to callers: the total of its page, the unfinished ones, and its request."""
    page = await store.read(lambda tx: tx.executions.page(page_query(5, None)))
    unfinished = await store.read(lambda tx: tx.executions.unfinished())
    assert page.total == len(page.items)
    found = await store.read(lambda tx: tx.executions.by_request("home", "sums", "req-exec-one"))
    return page.total, len(unfinished), found
