"""Tasks and attempts in SQL: staging, claiming, starting and finishing them, with the counts of their execution kept
in the same commit. The half of `contract.Executions` that is busy; `executions` completes it.

Every change is a guarded statement: it names the state and the lease that it expects, and changes nothing otherwise.
The statements are built once, because they run for each of millions of tasks.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, literal_column, or_, select, update

from homeport.core.errors import Internal, NotFound
from homeport.core.ids import ExecutionId, UnitId
from homeport.core.units import Outcome
from homeport.jobs.entries import Entry, EntryKind, StoredTask
from homeport.jobs.retry import BACKOFF_CAP_S
from homeport.jobs.states import AttemptState, TaskStatus
from homeport.store.contract import attempt_unit
from homeport.store.history import (
    ATTEMPT_CODES,
    TASK_CODES,
    add_claims,
    add_entry,
    read_entries,
    read_stored_tasks,
)
from homeport.store.records import Attempt, Task, TaskFinish
from homeport.store.rows import MOMENT, OBJECT, Codec, Form, coded, conflict, maybe, micros
from homeport.store.tables import attempts, executions, number_of_execution, open_attempts, pending_tasks, tasks

_NOT_BEFORE = Form(
    lambda moment: 0 if moment is None else micros(moment),
    lambda value: None if value == 0 else MOMENT.read(value),
)
_OUTCOME = Form(lambda outcome: OBJECT.write(outcome.to_json()), lambda text: Outcome.from_json(OBJECT.read(text)))
TASK = Codec(
    Task,
    tasks,
    "index",
    ("execution_id",),
    status=coded(TASK_CODES),
    not_before=_NOT_BEFORE,
    lease_until=maybe(MOMENT),
    created_at=MOMENT,
    scheduled_at=maybe(MOMENT),
    started_at=maybe(MOMENT),
    completed_at=maybe(MOMENT),
    updated_at=MOMENT,
)
_ATTEMPT = Codec(
    Attempt,
    attempts,
    "unit",
    ("unit", "execution_id"),
    state=coded(ATTEMPT_CODES),
    created_at=MOMENT,
    started_at=maybe(MOMENT),
    ended_at=maybe(MOMENT),
    outcome=maybe(_OUTCOME),
)

_OF_EXECUTION = tasks.c.execution == number_of_execution
_IS_TASK = (_OF_EXECUTION, tasks.c.index == bindparam("at"))
_IS_ATTEMPT = (
    attempts.c.execution == number_of_execution,
    attempts.c.index == bindparam("at"),
    attempts.c.number == bindparam("nth"),
)
_HELD = exists().where(
    tasks.c.execution == attempts.c.execution,
    tasks.c.index == attempts.c.index,
    tasks.c.status == literal_column("1"),
    tasks.c.attempts == attempts.c.number,
    tasks.c.lease == bindparam("holder"),
)

# How many tasks of an execution may start: none while it is staged, being cancelled or over. Locked, so that two claims
# never count the same room.
_ROOM = (
    select(executions.c.parallelism - executions.c.running)
    .where(
        executions.c.id == bindparam("execution_id"),
        executions.c.visible,
        executions.c.cancel_requested_at.is_(None),
        executions.c.completed_at.is_(None),
    )
    .with_for_update()
)
# A retry whose time has come waits like any other task from then on: so a claim reads a short run of one index, in
# order of task, however many retries wait. None waits longer than the longest back-off: one that is to begin later than
# that was written before the clock was set back.
_OVERDUE = or_(tasks.c.not_before <= bindparam("now"), tasks.c.not_before > bindparam("at_most"))
_RELEASE_DUE = update(tasks).where(_OF_EXECUTION, pending_tasks, tasks.c.not_before > 0, _OVERDUE).values(not_before=0)
_waiting = tasks.alias("waiting")
_NEXT = (
    select(_waiting.c.index)
    .where(
        _waiting.c.execution == number_of_execution,
        _waiting.c.status == literal_column("0"),
        _waiting.c.not_before == 0,
    )
    .order_by(_waiting.c.index)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(tasks)
    .where(_OF_EXECUTION, tasks.c.index.in_(_NEXT))
    .values(
        status=TASK_CODES[TaskStatus.RUNNING],
        attempts=tasks.c.attempts + 1,
        lease=bindparam("holder"),
        lease_until=bindparam("held_until"),
        scheduled_at=func.coalesce(tasks.c.scheduled_at, bindparam("now")),
        updated_at=bindparam("now"),
    )
    .returning(tasks.c.execution, *TASK.columns)
)
_OPEN_ATTEMPT = insert(attempts)
_START_ATTEMPT = (
    update(attempts)
    .where(*_IS_ATTEMPT, attempts.c.state == ATTEMPT_CODES[AttemptState.STARTING], _HELD)
    .values(state=ATTEMPT_CODES[AttemptState.RUNNING], started_at=bindparam("now"))
)
_START_TASK = (
    update(tasks)
    .where(*_IS_TASK)
    .values(started_at=func.coalesce(tasks.c.started_at, bindparam("now")), updated_at=bindparam("now"))
)
_FINISH_ATTEMPT = (
    update(attempts)
    .where(*_IS_ATTEMPT, open_attempts, _HELD)
    .values(state=bindparam("ended"), ended_at=bindparam("now"), outcome=bindparam("how"))
)
_FINISH_TASK = (
    update(tasks)
    .where(*_IS_TASK)
    .values(
        status=bindparam("then"),
        not_before=bindparam("again_at"),
        completed_at=bindparam("done_at"),
        message=bindparam("said"),
        updated_at=bindparam("now"),
        lease=None,
        lease_until=None,
    )
)
_CANCEL_PENDING = (
    update(tasks)
    .where(_OF_EXECUTION, pending_tasks)
    .values(
        status=TASK_CODES[TaskStatus.CANCELLED],
        not_before=0,
        completed_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_COUNT = (
    update(executions)
    .where(executions.c.id == bindparam("execution_id"))
    .values(
        total=executions.c.total + bindparam("more_total"),
        pending=executions.c.pending + bindparam("more_pending"),
        running=executions.c.running + bindparam("more_running"),
        succeeded=executions.c.succeeded + bindparam("more_succeeded"),
        failed=executions.c.failed + bindparam("more_failed"),
        cancelled=executions.c.cancelled + bindparam("more_cancelled"),
        retried=executions.c.retried + bindparam("more_retried"),
        timed_out=executions.c.timed_out + bindparam("more_timed_out"),
        lost=executions.c.lost + bindparam("more_lost"),
        updated_at=bindparam("now"),
    )
)
_COUNTS = ("total", "pending", "running", "succeeded", "failed", "cancelled", "retried", "timed_out", "lost")
_UNCHANGED = {f"more_{count}": 0 for count in _COUNTS}

_TASKS = (
    select(*TASK.columns)
    .where(_OF_EXECUTION, tasks.c.index >= bindparam("first"))
    .order_by(tasks.c.index)
    .limit(bindparam("most"))
)
_ONE_ATTEMPT = select(*_ATTEMPT.columns).where(*_IS_ATTEMPT)
_ATTEMPTS = (
    select(*_ATTEMPT.columns)
    .where(attempts.c.execution == number_of_execution, attempts.c.index == bindparam("at"))
    .order_by(attempts.c.number)
)
_OPEN = (
    select(executions.c.id.label("execution_id"), tasks.c.lease, *_ATTEMPT.columns)
    .select_from(attempts)
    .join(executions, executions.c.number == attempts.c.execution)
    .join(tasks, (tasks.c.execution == attempts.c.execution) & (tasks.c.index == attempts.c.index))
    .where(open_attempts)
    .order_by(attempts.c.execution, attempts.c.index)
)


class SqlTasks:
    """The part of `contract.Executions` that deals with tasks."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_tasks(self, execution_id: ExecutionId, first: int, arguments: Sequence[str], now: datetime) -> None:
        number = self._connection.scalar(select(executions.c.number).where(executions.c.id == execution_id))
        if number is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        made = {"execution": number, "status": 0, "attempts": 0, "not_before": 0, "message": ""}
        made |= {"created_at": micros(now), "updated_at": micros(now)}
        rows = [made | {"index": first + place, "arguments": text} for place, text in enumerate(arguments)]
        if not rows:
            return
        last = first + len(rows) - 1
        with conflict(f"The execution {execution_id!r} has a task between {first} and {last} already."):
            self._connection.execute(insert(tasks), rows)
        self._count(execution_id, now, total=len(rows), pending=len(rows))

    def cancel_pending_tasks(self, execution_id: ExecutionId, now: datetime) -> int:
        values = {"execution_id": execution_id, "now": micros(now)}
        cancelled = self._connection.execute(_CANCEL_PENDING, values).rowcount
        if cancelled:
            self._count(execution_id, now, pending=-cancelled, cancelled=cancelled)
            add_entry(self._connection, execution_id, EntryKind.CANCELLED, now, amount=cancelled)
        return cancelled

    def claim(
        self, execution_id: ExecutionId, limit: int, now: datetime, lease: str, lease_until: datetime
    ) -> list[Task]:
        room = min(limit, self._connection.scalar(_ROOM, {"execution_id": execution_id}) or 0)
        if room <= 0:
            return []
        values = {"execution_id": execution_id, "now": micros(now)}
        at_most = micros(now + timedelta(seconds=BACKOFF_CAP_S))
        self._connection.execute(_RELEASE_DUE, values | {"at_most": at_most})
        values |= {"most": room, "holder": lease, "held_until": micros(lease_until)}
        rows = sorted(self._connection.execute(_CLAIM, values).mappings(), key=lambda row: row["index"])
        if not rows:
            return []
        begun = [_new_attempt(row["execution"], row["index"], row["attempts"], micros(now)) for row in rows]
        self._connection.execute(_OPEN_ATTEMPT, begun)
        self._count(execution_id, now, pending=-len(rows), running=len(rows))
        add_claims(self._connection, execution_id, rows, now)
        return [TASK.record(row, execution_id=execution_id) for row in rows]

    def start_attempt(self, unit: UnitId, lease: str, now: datetime) -> bool:
        if (place := _place(unit)) is None:
            return False
        values = place | {"holder": lease, "now": micros(now)}
        if not self._connection.execute(_START_ATTEMPT, values).rowcount:
            return False
        self._connection.execute(_START_TASK, values)
        where = {"index": place["at"], "number": place["nth"]}
        add_entry(self._connection, place["execution_id"], EntryKind.STARTED, now, **where)
        return True

    def finish_task_if_running(self, finish: TaskFinish, now: datetime) -> bool:
        if finish.attempt_state.open or finish.task_status is TaskStatus.RUNNING:
            raise Internal(detail=f"{finish.unit} cannot finish as {finish.attempt_state}/{finish.task_status}")
        if (place := _place(finish.unit)) is None:
            return False
        ended = {"ended": ATTEMPT_CODES[finish.attempt_state], "how": _OUTCOME.write(finish.outcome)}
        values = place | ended | {"holder": finish.lease, "now": micros(now)}
        if not self._connection.execute(_FINISH_ATTEMPT, values).rowcount:
            return False
        again = finish.task_status is TaskStatus.PENDING
        moved = {"then": TASK_CODES[finish.task_status], "said": finish.message, "now": micros(now)}
        moved |= {"again_at": _NOT_BEFORE.write(finish.not_before) if again else 0}
        moved |= {"done_at": None if again else micros(now)}
        self._connection.execute(_FINISH_TASK, place | moved)
        late = finish.task_status is TaskStatus.FAILED and finish.attempt_state is AttemptState.TIMED_OUT
        retried = again and finish.attempt_state is not AttemptState.STOPPED
        changes = {"running": -1, finish.task_status.value: 1, "retried": int(retried), "timed_out": int(late)}
        changes |= {"lost": int(finish.attempt_state is AttemptState.LOST)}
        self._count(place["execution_id"], now, **changes)
        self._log_end(place, finish, now)
        return True

    def _log_end(self, place: dict[str, Any], finish: TaskFinish, now: datetime) -> None:
        outcome = finish.outcome
        add_entry(
            self._connection,
            place["execution_id"],
            EntryKind.ENDED,
            now,
            index=place["at"],
            number=place["nth"],
            state=ATTEMPT_CODES[finish.attempt_state],
            then=TASK_CODES[finish.task_status],
            code=outcome.exit_code if outcome.signal is None else -outcome.signal,
            amount=None if finish.not_before is None else micros(finish.not_before),
        )

    def task(self, execution_id: ExecutionId, index: int) -> Task | None:
        found = self.tasks(execution_id, index, 1)
        return found[0] if found and found[0].index == index else None

    def tasks(self, execution_id: ExecutionId, first: int, limit: int) -> list[Task]:
        values = {"execution_id": execution_id, "first": first, "most": limit}
        rows = self._connection.execute(_TASKS, values).mappings()
        return [TASK.record(row, execution_id=execution_id) for row in rows]

    def attempt(self, unit: UnitId) -> Attempt | None:
        if (place := _place(unit)) is None:
            return None
        row = self._connection.execute(_ONE_ATTEMPT, place).mappings().first()
        return None if row is None else _attempt(place["execution_id"], row)

    def attempts(self, execution_id: ExecutionId, index: int) -> list[Attempt]:
        values = {"execution_id": execution_id, "at": index}
        return [_attempt(execution_id, row) for row in self._connection.execute(_ATTEMPTS, values).mappings()]

    def open_attempts(self) -> list[tuple[Attempt, str]]:
        rows = self._connection.execute(_OPEN).mappings()
        return [(_attempt(row["execution_id"], row), row["lease"]) for row in rows]

    def entries(self, execution_id: ExecutionId, after: int, limit: int) -> Iterator[Entry]:
        return read_entries(self._connection, execution_id, after, limit)

    def stored_tasks(self, execution_id: ExecutionId) -> Iterator[StoredTask]:
        return read_stored_tasks(self._connection, execution_id)

    def _count(self, execution_id: ExecutionId, now: datetime, **changes: int) -> None:
        more = {f"more_{count}": change for count, change in changes.items()}
        self._connection.execute(_COUNT, _UNCHANGED | more | {"execution_id": execution_id, "now": micros(now)})


def _new_attempt(execution: int, index: int, number: int, now: int) -> dict[str, Any]:
    state = ATTEMPT_CODES[AttemptState.STARTING]
    return {"execution": execution, "index": index, "number": number, "state": state, "created_at": now}


def _attempt(execution_id: ExecutionId, row: Any) -> Attempt:
    unit = attempt_unit(execution_id, row["index"], row["number"])
    return _ATTEMPT.record(row, unit=unit, execution_id=execution_id)


def _place(unit: UnitId) -> dict[str, Any] | None:
    """What `attempt_unit` put together; None for a unit that is no attempt."""
    execution_id, *numbers = unit.rsplit("-", 2)
    # Fifteen digits fit a database's integer; no task has such an index, so a longer one is no attempt of ours.
    if len(numbers) != 2 or not all(part.isdecimal() and part.isascii() and len(part) <= 15 for part in numbers):
        return None
    return {"execution_id": ExecutionId(execution_id), "at": int(numbers[0]), "nth": int(numbers[1])}
