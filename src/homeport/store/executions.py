"""Executions in SQL. Keeps `contract.Executions`, together with `tasks`, which it extends; what a status means and
when it changes is the runner's to decide."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update

from homeport.core.ids import ExecutionId
from homeport.jobs.states import ExecutionStatus
from homeport.store.pages import Keyset
from homeport.store.records import Execution, ExecutionPage
from homeport.store.rows import MOMENT, OBJECT, Codec, conflict, dump, maybe, micros, named
from homeport.store.tables import executions
from homeport.store.tasks import SqlTasks

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
_NEWEST_FIRST = Keyset(executions.c.created_at, executions.c.id, descending=True)
_UNFINISHED = [status.value for status in ExecutionStatus if not status.terminal]


class SqlExecutions(SqlTasks):
    """See `contract.Executions`."""

    __slots__ = ()

    def insert(self, execution: Execution) -> None:
        with conflict(f"The execution id {execution.id!r} is taken.", "Use another id."):
            self._connection.execute(insert(executions).values(_EXECUTION.values(execution)))

    def publish(self, execution_id: ExecutionId, now: datetime) -> None:
        staged = update(executions).where(executions.c.id == execution_id, executions.c.visible.is_(False))
        with conflict("The same request was accepted a moment ago.", "Read its execution instead."):
            self._connection.execute(staged.values(visible=True, updated_at=micros(now)))

    def discard_staged(self, before: datetime) -> int:
        # The tables of tasks and attempts say ON DELETE CASCADE.
        old = delete(executions).where(executions.c.visible.is_(False), executions.c.created_at < micros(before))
        return self._connection.execute(old).rowcount

    def get(self, execution_id: ExecutionId) -> Execution | None:
        return self._one(select(*_EXECUTION.columns).where(executions.c.id == execution_id))

    def by_request(self, workspace: str, job: str, request_id: str) -> Execution | None:
        mine = (executions.c.workspace == workspace, executions.c.job == job, executions.c.request_id == request_id)
        return self._one(select(*_EXECUTION.columns).where(*mine, executions.c.visible))

    def page(
        self, workspace: str, job: str, limit: int, after: tuple[str, str] | None, offset: int = 0
    ) -> ExecutionPage:
        mine = (executions.c.workspace == workspace, executions.c.job == job, executions.c.visible)
        total = self._connection.scalar(select(func.count()).select_from(executions).where(*mine)) or 0
        chosen = select(*_EXECUTION.columns).where(*mine)
        rows, following = _NEWEST_FIRST.rows(self._connection, chosen, limit, after, offset)
        return ExecutionPage(items=[_EXECUTION.record(row) for row in rows], next=following, total=total)

    def newest_like(self, workspace: str, job: str, beginning: str) -> ExecutionId | None:
        mine = (executions.c.workspace == workspace, executions.c.job == job, executions.c.visible)
        alike = select(executions.c.id).where(*mine, executions.c.id.startswith(beginning, autoescape=True))
        newest = alike.order_by(executions.c.created_at.desc(), executions.c.id.desc()).limit(1)
        found = self._connection.scalar(newest)
        return None if found is None else ExecutionId(found)

    def rewrite_overrides(self, change: Callable[[Execution], tuple[dict[str, str], str]]) -> int:
        having = select(executions.c.id).where(executions.c.env_override != dump({}))
        found = self._connection.scalars(having).all()
        for ident in found:
            if (execution := self.get(ident)) is not None:
                env, digest = change(execution)
                written = update(executions).where(executions.c.id == ident)
                self._connection.execute(written.values(env_override=dump(env), request_digest=digest))
        return len(found)

    def unfinished(self) -> list[Execution]:
        chosen = select(*_EXECUTION.columns).where(executions.c.status.in_(_UNFINISHED), executions.c.visible)
        oldest_first = chosen.order_by(executions.c.created_at, executions.c.id)
        return [_EXECUTION.record(row) for row in self._connection.execute(oldest_first).mappings()]

    def set_status(self, execution_id: ExecutionId, status: ExecutionStatus, now: datetime) -> None:
        values: dict[str, Any] = {"status": status.value, "updated_at": micros(now)}
        if status is ExecutionStatus.RUNNING:
            values["started_at"] = func.coalesce(executions.c.started_at, micros(now))
        elif status is ExecutionStatus.CANCELLING:
            values["cancel_requested_at"] = func.coalesce(executions.c.cancel_requested_at, micros(now))
        elif status.terminal:
            values["completed_at"] = micros(now)
        changing = update(executions).where(executions.c.id == execution_id, executions.c.status.in_(_UNFINISHED))
        self._connection.execute(changing.values(values))

    def _one(self, chosen: Select[Any]) -> Execution | None:
        row = self._connection.execute(chosen).mappings().first()
        return None if row is None else _EXECUTION.record(row)
