"""Asynchronous calls in SQL. Keeps `invocation_contract.Invocations`; what a status means and when it changes is
`homeport.app`'s and `homeport.invocations`' to decide. Many at once everywhere: hundreds are accepted in a second."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, or_, select, text, update

from homeport.invocations.retry import FURTHEST
from homeport.invocations.shares import Waiting
from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus
from homeport.store.invocation_records import (
    Callback,
    Invocation,
    InvocationAttempt,
    InvocationPage,
    InvocationQuery,
    UnderWay,
)
from homeport.store.rows import MOMENT, Codec, maybe, micros, moment, named, portions
from homeport.store.sealed import Sealed, beginning, narrowed
from homeport.store.tables import (
    ended_invocations,
    invocation_attempts,
    invocation_bodies,
    invocation_callbacks,
    invocations,
    open_callbacks,
    queued_invocations,
    running_invocations,
)

_CALL = Codec(
    Invocation,
    invocations,
    "id",
    status=named(InvocationStatus),
    not_before=MOMENT,
    created_at=MOMENT,
    updated_at=MOMENT,
    started_at=maybe(MOMENT),
    completed_at=maybe(MOMENT),
    cancel_requested_at=maybe(MOMENT),
)
_ATTEMPT = Codec(
    InvocationAttempt,
    invocation_attempts,
    "invocation",
    end=named(AttemptEnd),
    started_at=MOMENT,
    ended_at=maybe(MOMENT),
)
_CALLBACK = Codec(
    Callback,
    invocation_callbacks,
    "invocation",
    status=named(CallbackStatus),
    not_before=MOMENT,
    updated_at=MOMENT,
)
_call, _body = invocations.c, invocation_bodies.c
_CALLS = select(*_CALL.columns)
# What changes after acceptance; of an attempt, after its beginning; of a callback.
_CHANGING = (
    *("status", "attempts", "counted", "not_before", "lease", "message", "updated_at", "started_at", "completed_at"),
    *("cancel_requested_at", "response_status", "response_length"),
)
_CHANGING_ATTEMPT = ("end", "ended_at", "status", "reason")
_CHANGING_CALLBACK = ("status", "attempts", "not_before", "lease", "answer", "message", "updated_at")


def _anew(names: Sequence[str]) -> dict[str, Any]:
    """The parameters that `_new` fills."""
    return {name: bindparam(f"new_{name}") for name in names}


_UPDATE = update(invocations).where(_call.number == bindparam("of_number")).values(_anew(_CHANGING))
_UPDATE_ATTEMPT = (
    update(invocation_attempts)
    .where(
        invocation_attempts.c.invocation == bindparam("of_invocation"),
        invocation_attempts.c.number == bindparam("of_number"),
    )
    .values(_anew(_CHANGING_ATTEMPT))
)
_UPDATE_CALLBACK = (
    update(invocation_callbacks)
    .where(invocation_callbacks.c.invocation == bindparam("of_invocation"))
    .values(_anew(_CHANGING_CALLBACK))
)
_UNDER_WAY = (
    select(_call.number, _call.id, _call.lease, _call.cancel_requested_at.is_not(None))
    .where(running_invocations)
    .order_by(_call.number)
)
# The agents of the queue one by one, by the index, so that a long queue of one costs nothing.
_QUEUES = text(
    "WITH RECURSIVE queue (uid) AS ("
    "SELECT min(agent_uid) FROM invocations WHERE status = 'queued' UNION ALL "
    "SELECT (SELECT min(agent_uid) FROM invocations WHERE status = 'queued' AND agent_uid > queue.uid) "
    "FROM queue WHERE queue.uid IS NOT NULL) "
    "SELECT uid, (SELECT min(not_before) FROM invocations WHERE status = 'queued' AND agent_uid = uid) AS oldest, "
    "(SELECT count(*) FROM (SELECT 1 FROM invocations WHERE status = 'queued' AND agent_uid = uid "
    "AND (not_before <= :now OR not_before > :far) LIMIT :most) AS some) AS due, "
    "(SELECT count(*) FROM invocations WHERE status = 'running' AND agent_uid = uid) AS running "
    "FROM queue WHERE uid IS NOT NULL"
)


class SqlInvocations:
    """See `invocation_contract.Invocations`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, calls: Sequence[Invocation], requests: Sequence[bytes]) -> list[Invocation]:
        known = {call.id for call in self.by_ids([call.id for call in calls])}
        new = [(call, request) for call, request in zip(calls, requests, strict=True) if call.id not in known]
        if not new:
            return []
        top = self._connection.scalar(select(func.max(_call.number))) or 0
        # Given here: there is one writer, and reading them back would cost a statement for each call.
        rows = [_CALL.values(call) | {"number": number} for number, (call, _) in enumerate(new, top + 1)]
        self._connection.execute(insert(invocations), rows)
        bodies = [
            {"invocation": row["number"], "request": request} for row, (_, request) in zip(rows, new, strict=True)
        ]
        self._connection.execute(insert(invocation_bodies), bodies)
        return [call for call, _ in new]

    def get(self, ident: str) -> Invocation | None:
        return next(iter(self.by_ids([ident])), None)

    def numbered(self, numbers: Collection[int]) -> dict[int, Invocation]:
        found: dict[int, Invocation] = {}
        for some in portions([*numbers]):
            found |= {call.number: call for call in self._all(_CALLS.where(_call.number.in_(some)))}
        return found

    def page(self, query: InvocationQuery) -> InvocationPage:
        chosen = _CALLS.where(_call.workspace == query.workspace)
        if query.agent is not None:
            chosen = chosen.where(_call.agent == query.agent)
        if query.statuses:
            chosen = chosen.where(_call.status.in_([status.value for status in query.statuses]))
        if query.since is not None:
            chosen = chosen.where(_call.created_at >= micros(query.since))
        if query.until is not None:
            chosen = chosen.where(_call.created_at < micros(query.until))
        if query.after is not None:
            chosen = chosen.where(_call.number > query.after if query.ascending else _call.number < query.after)
        chosen = chosen.order_by(_call.number.asc() if query.ascending else _call.number.desc())
        items = self._all(chosen.limit(query.limit + 1))
        more = len(items) > query.limit
        items = items[: query.limit]
        return InvocationPage(items=items, next=items[-1].number if more and items else None)

    def requests(self, numbers: Sequence[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for some in portions(numbers):
            chosen = select(_body.invocation, _body.request).where(_body.invocation.in_(some))
            found |= {row.invocation: row.request for row in self._connection.execute(chosen)}
        return found

    def response(self, number: int) -> bytes | None:
        found: bytes | None = self._connection.scalar(select(_body.response).where(_body.invocation == number))
        return found

    def set_responses(self, responses: dict[int, bytes]) -> None:
        if responses:
            written = update(invocation_bodies).where(_body.invocation == bindparam("of_number"))
            rows = [{"of_number": number, "new_response": response} for number, response in responses.items()]
            self._connection.execute(written.values(response=bindparam("new_response")), rows)

    def queues(self, now: datetime, most: int) -> list[Waiting]:
        bounds = {"now": micros(now), "far": micros(now + FURTHEST), "most": most}
        return [
            Waiting(agent_uid=row.uid, running=row.running, due=row.due, oldest=moment(row.oldest))
            for row in self._connection.execute(_QUEUES, bounds)
        ]

    def next_at(self) -> datetime | None:
        queued = self._connection.scalar(select(func.min(_call.not_before)).where(queued_invocations))
        table = invocation_callbacks.c
        waiting = (open_callbacks, table.status == CallbackStatus.WAITING.value)
        callback = self._connection.scalar(select(func.min(table.not_before)).where(*waiting))
        return min((moment(one) for one in (queued, callback) if one is not None), default=None)

    def due(self, agent_uid: str, limit: int, now: datetime) -> list[Invocation]:
        mine = _CALLS.where(queued_invocations, _call.agent_uid == agent_uid, _come(_call.not_before, now))
        return self._all(mine.order_by(_call.not_before, _call.number).limit(limit))

    def queued(self, agent_uid: str, limit: int) -> list[Invocation]:
        return self._all(_CALLS.where(queued_invocations, _call.agent_uid == agent_uid).limit(limit))

    def waits_more_than(self, agent_uid: str, count: int) -> bool:
        mine = select(_call.number).where(queued_invocations, _call.agent_uid == agent_uid)
        return self._connection.scalar(mine.limit(1).offset(count)) is not None

    def count_open(self) -> tuple[int, int]:
        counted = select(func.count()).select_from(invocations)
        queued = self._connection.scalar(counted.where(queued_invocations)) or 0
        return queued, self._connection.scalar(counted.where(running_invocations)) or 0

    def by_ids(self, idents: Sequence[str]) -> list[Invocation]:
        found: list[Invocation] = []
        for some in portions(idents):
            found += self._all(_CALLS.where(_call.id.in_(some)))
        return found

    def under_way(self) -> list[UnderWay]:
        return [UnderWay(*row) for row in self._connection.execute(_UNDER_WAY)]

    def change(self, calls: Sequence[Invocation]) -> None:
        if calls:
            rows = [_new(_CALL.values(call), _CHANGING) | {"of_number": call.number} for call in calls]
            self._connection.execute(_UPDATE, rows)

    def add_attempts(self, attempts: Sequence[InvocationAttempt]) -> None:
        if attempts:
            self._connection.execute(insert(invocation_attempts), [_ATTEMPT.values(one) for one in attempts])

    def end_attempts(self, attempts: Sequence[InvocationAttempt]) -> None:
        if attempts:
            rows = [
                _new(_ATTEMPT.values(one), _CHANGING_ATTEMPT)
                | {"of_invocation": one.invocation, "of_number": one.number}
                for one in attempts
            ]
            self._connection.execute(_UPDATE_ATTEMPT, rows)

    def drop_attempts(self, dropped: Sequence[tuple[int, int]]) -> None:
        for invocation, number in dropped:
            mine = (invocation_attempts.c.invocation == invocation, invocation_attempts.c.number == number)
            self._connection.execute(delete(invocation_attempts).where(*mine))

    def attempts(self, number: int) -> list[InvocationAttempt]:
        mine = select(*_ATTEMPT.columns).where(invocation_attempts.c.invocation == number)
        rows = self._connection.execute(mine.order_by(invocation_attempts.c.number)).mappings()
        return [_ATTEMPT.record(row) for row in rows]

    def add_callbacks(self, callbacks: Sequence[Callback]) -> None:
        if callbacks:
            self._connection.execute(insert(invocation_callbacks), [_CALLBACK.values(one) for one in callbacks])

    def callback(self, number: int) -> Callback | None:
        return next(iter(self._callbacks(invocation_callbacks.c.invocation == number)), None)

    def due_callbacks(self, limit: int, now: datetime) -> list[Callback]:
        table = invocation_callbacks.c
        waiting = (open_callbacks, table.status == CallbackStatus.WAITING.value, _come(table.not_before, now))
        return self._callbacks(*waiting, limit=limit)

    def sending(self) -> list[Callback]:
        return self._callbacks(open_callbacks, invocation_callbacks.c.status == CallbackStatus.SENDING.value)

    def change_callbacks(self, callbacks: Sequence[Callback]) -> None:
        if callbacks:
            rows = [
                _new(_CALLBACK.values(one), _CHANGING_CALLBACK) | {"of_invocation": one.invocation} for one in callbacks
            ]
            self._connection.execute(_UPDATE_CALLBACK, rows)

    def sweepable(self, before: datetime, keep: int, limit: int) -> list[int]:
        open_ = select(invocation_callbacks.c.invocation).where(open_callbacks)
        idle = (ended_invocations, _call.number.not_in(open_))
        old = select(_call.number).where(*idle, _call.completed_at < micros(before)).order_by(_call.completed_at)
        chosen = set(self._connection.scalars(old.limit(limit)))
        for workspace, agent in self._agents():
            mine = (_call.workspace == workspace, _call.agent == agent)
            newest_first = select(_call.number).where(*mine).order_by(_call.number.desc())
            dropped = self._connection.scalar(newest_first.limit(1).offset(keep))
            if dropped is not None and len(chosen) < limit:
                many = select(_call.number).where(*mine, *idle, _call.number <= dropped).order_by(_call.number)
                chosen |= set(self._connection.scalars(many.limit(limit - len(chosen))))
        return sorted(chosen)

    def remove(self, numbers: Sequence[int]) -> None:
        for some in portions(numbers):
            self._connection.execute(delete(invocations).where(_call.number.in_(some)))

    def rewrite_bodies(self, change: Callable[[Invocation, bytes], bytes], only: Sealed | None = None) -> int:
        chosen = beginning(select(_body.invocation).order_by(_body.invocation), only, _body.request, _body.response)
        return sum(self._rewritten(number, change) for number in self._connection.scalars(chosen).all())

    def rewrite_callback_secrets(self, change: Callable[[Invocation], str], only: Sealed | None = None) -> int:
        found = self._all(narrowed(_CALLS.where(_call.callback_secret.is_not(None)), only, _call.callback_secret))
        for call in found:
            written = update(invocations).where(_call.number == call.number)
            self._connection.execute(written.values(callback_secret=change(call)))
        return len(found)

    def _rewritten(self, number: int, change: Callable[[Invocation, bytes], bytes]) -> int:
        call = self.numbered([number])[number]
        row = self._connection.execute(select(_body.request, _body.response).where(_body.invocation == number)).one()
        response = None if row.response is None else change(call, row.response)
        written = update(invocation_bodies).where(_body.invocation == number)
        self._connection.execute(written.values(request=change(call, row.request), response=response))
        return 1

    def _agents(self) -> Iterator[tuple[str, str]]:
        """Every agent that has calls, by the index, so that long records of few agents cost nothing."""
        here: tuple[str, str] = ("", "")
        after = text(
            "SELECT workspace, agent FROM invocations WHERE (workspace, agent) > (:workspace, :agent) "
            "ORDER BY workspace, agent LIMIT 1"
        )
        while (row := self._connection.execute(after, {"workspace": here[0], "agent": here[1]}).first()) is not None:
            here = (row.workspace, row.agent)
            yield here

    def _callbacks(self, *where: Any, limit: int | None = None) -> list[Callback]:
        chosen = select(*_CALLBACK.columns).where(*where).order_by(invocation_callbacks.c.not_before).limit(limit)
        return [_CALLBACK.record(row) for row in self._connection.execute(chosen).mappings()]

    def _all(self, chosen: Select[Any]) -> list[Invocation]:
        return [_CALL.record(row) for row in self._connection.execute(chosen).mappings()]


def _come(not_before: ColumnElement[int], now: datetime) -> ColumnElement[bool]:
    return or_(not_before <= micros(now), not_before > micros(now + FURTHEST))


def _new(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {f"new_{name}": values[name] for name in names}
