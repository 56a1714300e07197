"""The history of executions in SQL: entries added in the commit of what they tell, and read back in order.

Called by `tasks` and `executions` for each of their changes. Statements are built once: one entry or two for each of
millions of tasks.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select
from sqlalchemy.engine import RowMapping

from homeport.core.errors import Internal
from homeport.core.ids import ExecutionId
from homeport.jobs.entries import Entry, EntryKind, StoredTask
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.store.rows import micros, moment
from homeport.store.tables import attempts, history, number_of_execution, tasks

# Never renumber: these stand in databases, and two of them in `tables` as constants of an index.
TASK_CODES = {
    TaskStatus.PENDING: 0,
    TaskStatus.RUNNING: 1,
    TaskStatus.SUCCEEDED: 2,
    TaskStatus.FAILED: 3,
    TaskStatus.CANCELLED: 4,
}
ATTEMPT_CODES = {
    AttemptState.STARTING: 0,
    AttemptState.RUNNING: 1,
    AttemptState.SUCCEEDED: 2,
    AttemptState.FAILED: 3,
    AttemptState.TIMED_OUT: 4,
    AttemptState.LOST: 5,
    AttemptState.STOPPED: 6,
}
KIND_CODES = {
    EntryKind.BEFORE: 0,
    EntryKind.ACCEPTED: 1,
    EntryKind.CLAIMED: 2,
    EntryKind.STARTED: 3,
    EntryKind.ENDED: 4,
    EntryKind.STATUS: 5,
    EntryKind.CANCELLED: 6,
    EntryKind.STOP_ASKED: 7,
}
STATUS_CODES = {
    ExecutionStatus.QUEUED: 0,
    ExecutionStatus.PENDING: 1,
    ExecutionStatus.RUNNING: 2,
    ExecutionStatus.CANCELLING: 3,
    ExecutionStatus.CANCELLED: 4,
    ExecutionStatus.SUCCEEDED: 5,
    ExecutionStatus.FAILED: 6,
    ExecutionStatus.TIMEOUT: 7,
}
_TASKS = {code: status for status, code in TASK_CODES.items()}
_ATTEMPTS = {code: state for state, code in ATTEMPT_CODES.items()}
_KINDS = {code: kind for kind, code in KIND_CODES.items()}
_STATUSES = {code: status for status, code in STATUS_CODES.items()}

_LAST = select(func.coalesce(func.max(history.c.seq), 0)).where(history.c.execution == number_of_execution)
_UNSAID = {name: None for name in ("index", "number", "state", "then", "code", "amount")}
_ADD_ONE = insert(history).values(
    execution=number_of_execution,
    seq=_LAST.scalar_subquery() + 1,
    at=bindparam("now"),
    kind=bindparam("what"),
    **{name: bindparam(f"its_{name}") for name in _UNSAID},
)
_ADD = insert(history)
_ENTRIES = (
    select(history)
    .where(history.c.execution == number_of_execution, history.c.seq > bindparam("after"))
    .order_by(history.c.seq)
    .limit(bindparam("most"))
)
_STORED_TASKS = (
    select(tasks.c.index, tasks.c.status).where(tasks.c.execution == number_of_execution).order_by(tasks.c.index)
)
_STORED_ATTEMPTS = (
    select(attempts.c.index, attempts.c.state)
    .where(attempts.c.execution == number_of_execution)
    .order_by(attempts.c.index, attempts.c.number)
)


def add_entry(
    connection: Connection, execution_id: ExecutionId, kind: EntryKind, now: datetime, **said: int | None
) -> None:
    """Add one entry, after the last one there is."""
    values = {"execution_id": execution_id, "now": micros(now), "what": KIND_CODES[kind]}
    connection.execute(_ADD_ONE, values | {f"its_{name}": said.get(name) for name in _UNSAID})


def add_claims(connection: Connection, execution_id: ExecutionId, claimed: Iterable[RowMapping], now: datetime) -> None:
    """Add an entry for each attempt that was made durable; `claimed` are rows of their tasks."""
    last = connection.scalar(_LAST, {"execution_id": execution_id}) or 0
    same = _UNSAID | {"at": micros(now), "kind": KIND_CODES[EntryKind.CLAIMED]}
    rows = [
        same | {"execution": row["execution"], "seq": seq, "index": row["index"], "number": row["attempts"]}
        for seq, row in enumerate(claimed, last + 1)
    ]
    connection.execute(_ADD, rows)


def read_entries(connection: Connection, execution_id: ExecutionId, after: int, limit: int) -> Iterator[Entry]:
    """At most `limit` entries after number `after`. Raises `Internal` for a row that cannot be read."""
    values = {"execution_id": execution_id, "after": after, "most": limit}
    for row in connection.execute(_ENTRIES, values):
        try:
            yield _entry(row)
        except (KeyError, TypeError, OverflowError) as error:
            raise Internal(detail=f"entry {row.seq} of execution {execution_id} cannot be read: {error!r}") from error


def read_stored_tasks(connection: Connection, execution_id: ExecutionId) -> Iterator[StoredTask]:
    """Every task with its attempts, in order. Two statements side by side: a task without attempts has no rows."""
    named = {"execution_id": execution_id}
    states = iter(connection.execute(_STORED_ATTEMPTS, named))
    ahead = next(states, None)
    for index, status in connection.execute(_STORED_TASKS, named):
        mine = []
        while ahead is not None and ahead[0] == index:
            mine.append(_ATTEMPTS[ahead[1]])
            ahead = next(states, None)
        yield StoredTask(index=index, status=_TASKS[status], attempts=tuple(mine))


def _entry(row: Any) -> Entry:
    _, seq, at, kind_code, index, number, state, then, code, amount = row
    kind = _KINDS[kind_code]
    ended = kind is EntryKind.ENDED
    return Entry(
        seq=seq,
        at=moment(at),
        kind=kind,
        index=index,
        number=number,
        attempt=_ATTEMPTS[state] if ended else None,
        task=_TASKS[then] if ended else None,
        status=_STATUSES[state] if kind is EntryKind.STATUS else None,
        code=code,
        amount=None if ended else amount,
        due=moment(amount) if ended and amount is not None else None,
    )
