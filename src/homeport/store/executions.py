"""Executions in SQL. Keeps `contract.Executions`, together with `tasks`, which it extends; what a status means and
when it changes is the runner's to decide."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, bindparam, cast, delete, func, insert, literal, or_, select, update

from homeport.core.ids import TASK_PREFIX, ExecutionId
from homeport.jobs.entries import EntryKind
from homeport.jobs.states import ExecutionStatus
from homeport.store.history import STATUS_CODES, add_entry
from homeport.store.pages import Keyset
from homeport.store.records import Execution, ExecutionPage, ExecutionQuery, Task, TaskQuery
from homeport.store.rows import MOMENT, OBJECT, Codec, conflict, dump, maybe, micros, named
from homeport.store.sealed import Sealed, narrowed
from homeport.store.tables import executions, tasks
from homeport.store.tasks import TASK, SqlTasks

_EXECUTION = Codec(
    Execution,
    executions,
    "id",
    status=named(ExecutionStatus),
    env_override=OBJECT,
    created_at=MOMENT,
    updated_at=MOMENT,
    started_at=maybe(MOMENT),
    completed_at=maybe(MOMENT),
    cancel_requested_at=maybe(MOMENT),
)
_ORDERS = {
    "createdAt:desc": Keyset(executions.c.created_at, executions.c.id, descending=True),
    "createdAt:asc": Keyset(executions.c.created_at, executions.c.id, descending=False),
    "name:asc": Keyset(executions.c.id, executions.c.id, descending=False),
    "name:desc": Keyset(executions.c.id, executions.c.id, descending=True),
}
# Built once: each change of a task reads its execution.
_GET = select(*_EXECUTION.columns).where(executions.c.id == bindparam("execution_id"))
_UNFINISHED = [status.value for status in ExecutionStatus if not status.terminal]
_ALL_UNFINISHED = (
    select(*_EXECUTION.columns)
    .where(executions.c.status.in_(_UNFINISHED), executions.c.visible)
    .order_by(executions.c.created_at, executions.c.id)
)


class SqlExecutions(SqlTasks):
    """See `contract.Executions`."""

    __slots__ = ()

    def insert(self, execution: Execution) -> None:
        with conflict(f"The execution id {execution.id!r} is taken.", "Use another id."):
            self._connection.execute(insert(executions).values(_EXECUTION.values(execution)))

    def publish(self, execution_id: ExecutionId, now: datetime) -> None:
        staged = update(executions).where(executions.c.id == execution_id, executions.c.visible.is_(False))
        with conflict("The same request was accepted a moment ago.", "Read its execution instead."):
            published = self._connection.execute(staged.values(visible=True, updated_at=micros(now))).rowcount
        if published:
            total = self._connection.scalar(select(executions.c.total).where(executions.c.id == execution_id))
            add_entry(self._connection, execution_id, EntryKind.ACCEPTED, now, amount=total)

    def discard_staged(self, keep: Collection[ExecutionId]) -> int:
        # The tables of tasks and attempts say ON DELETE CASCADE.
        old = delete(executions).where(executions.c.visible.is_(False), executions.c.id.not_in(keep))
        return self._connection.execute(old).rowcount

    def get(self, execution_id: ExecutionId) -> Execution | None:
        return self._one(_GET, {"execution_id": execution_id})

    def by_request(self, workspace: str, job: str, request_id: str) -> Execution | None:
        mine = (executions.c.workspace == workspace, executions.c.job == job, executions.c.request_id == request_id)
        return self._one(select(*_EXECUTION.columns).where(*mine, executions.c.visible))

    def page(self, query: ExecutionQuery) -> ExecutionPage:
        mine = (executions.c.workspace == query.workspace, executions.c.job == query.job, executions.c.visible)
        total = self._connection.scalar(select(func.count()).select_from(executions).where(*mine)) or 0
        chosen = select(*_EXECUTION.columns).where(*mine)
        if query.q is not None:
            chosen = chosen.where(func.lower(executions.c.id).contains(query.q, autoescape=True))
        order = _ORDERS[query.sort]
        rows, following = order.rows(self._connection, chosen, query.limit, query.after, query.offset)
        return ExecutionPage(items=[_EXECUTION.record(row) for row in rows], next=following, total=total)

    def newest_like(self, workspace: str, job: str, beginning: str) -> ExecutionId | None:
        mine = (executions.c.workspace == workspace, executions.c.job == job, executions.c.visible)
        alike = select(executions.c.id).where(*mine, executions.c.id.startswith(beginning, autoescape=True))
        newest = alike.order_by(executions.c.created_at.desc(), executions.c.id.desc()).limit(1)
        found = self._connection.scalar(newest)
        return None if found is None else ExecutionId(found)

    def rewrite_overrides(
        self, change: Callable[[Execution], tuple[dict[str, str], str]], only: Sealed | None = None
    ) -> int:
        having = select(executions.c.id).where(executions.c.env_override != dump({}))
        found = self._connection.scalars(narrowed(having, only, executions.c.env_override)).all()
        for ident in found:
            if (execution := self.get(ident)) is not None:
                env, digest = change(execution)
                written = update(executions).where(executions.c.id == ident)
                self._connection.execute(written.values(env_override=dump(env), request_digest=digest))
        return len(found)

    def task_page(self, query: TaskQuery) -> tuple[list[Task], bool]:
        number = select(executions.c.number).where(executions.c.id == query.execution_id).scalar_subquery()
        index = tasks.c.index
        chosen = select(*TASK.columns).where(tasks.c.execution == number)
        if query.after is not None:
            chosen = chosen.where(index < query.after if query.descending else index > query.after)
        if query.q is not None:
            name = literal(TASK_PREFIX).concat(cast(index, Text))
            chosen = chosen.where(name.contains(query.q, autoescape=True))
        chosen = chosen.order_by(index.desc() if query.descending else index.asc()).limit(query.limit + 1)
        found = [
            TASK.record(row, execution_id=query.execution_id) for row in self._connection.execute(chosen).mappings()
        ]
        return found[: query.limit], len(found) > query.limit

    def completed_since(self, moment: datetime) -> list[Execution]:
        ended = select(*_EXECUTION.columns).where(executions.c.completed_at >= micros(moment), executions.c.visible)
        return [_EXECUTION.record(row) for row in self._connection.execute(ended).mappings()]

    def unfinished(self) -> list[Execution]:
        return [_EXECUTION.record(row) for row in self._connection.execute(_ALL_UNFINISHED).mappings()]

    def set_status(self, execution_id: ExecutionId, status: ExecutionStatus, now: datetime) -> None:
        values: dict[str, Any] = {"status": status.value, "updated_at": micros(now)}
        if status is ExecutionStatus.RUNNING:
            values["started_at"] = func.coalesce(executions.c.started_at, micros(now))
        elif status is ExecutionStatus.CANCELLING:
            values["cancel_requested_at"] = func.coalesce(executions.c.cancel_requested_at, micros(now))
        elif status.terminal:
            values["completed_at"] = micros(now)
        open_ = (executions.c.status.in_(_UNFINISHED), executions.c.status != status.value)
        changing = update(executions).where(executions.c.id == execution_id, *open_)
        if self._connection.execute(changing.values(values)).rowcount:
            add_entry(self._connection, execution_id, EntryKind.STATUS, now, state=STATUS_CODES[status])

    def ask_stop(self, execution_id: ExecutionId, grace_s: int, now: datetime) -> None:
        sooner = or_(executions.c.stop_grace_s.is_(None), executions.c.stop_grace_s > grace_s)
        cancelling = executions.c.status == ExecutionStatus.CANCELLING.value
        asked = update(executions).where(executions.c.id == execution_id, cancelling, sooner)
        if self._connection.execute(asked.values(stop_grace_s=grace_s, updated_at=micros(now))).rowcount:
            add_entry(self._connection, execution_id, EntryKind.STOP_ASKED, now, amount=grace_s)

    def _one(self, chosen: Select[Any], values: dict[str, Any] | None = None) -> Execution | None:
        row = self._connection.execute(chosen, values).mappings().first()
        return None if row is None else _EXECUTION.record(row)
