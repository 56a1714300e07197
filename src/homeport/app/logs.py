"""The output of a workload's programs and builds, read from the units that wrote it, oldest first, live on request."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from homeport.app.context import Context
from homeport.app.log_units import LATE_S, Source, end_of, newest_first, oldest_first
from homeport.app.placed import units_of
from homeport.app.resources import fetch
from homeport.app.severity import Severity, severity_of
from homeport.core.errors import Denied, DriverUnavailable, NotFound
from homeport.core.ids import ExecutionId, Kind, UnitId
from homeport.core.units import LogLine, UnitKind, UnitState, UnitStatus
from homeport.identity.principals import Principal, Role
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Resource
from homeport.workloads.states import RevisionState

FOLLOW_INTERVAL_S = 0.2  # how soon a new line is seen
SILENT_DRIVER_S = 3.0  # a follower sits out a driver that is away, and is told of it unless that is back by then
TAIL_BYTES = 32 * 1024 * 1024  # of text: the last lines are held until the first of them is found


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """`build` reads the builds, else the programs. `execution` and `task` narrow a job's, `replica` an agent's,
    `revision` either. Lines stamped from `since` on and before `until`, of these `severities` (None: all), that hold
    `text`. `tail` keeps the last such lines of what exists now, 0 for all. `follow` goes on until nothing that could
    write is left, or the caller leaves."""

    build: bool = False
    follow: bool = False
    execution: str | None = None
    task: int | None = None
    revision: str | None = None
    replica: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    severities: frozenset[Severity] | None = None
    text: str = ""
    tail: int = 0

    def selects(self, line: LogLine) -> bool:
        """Whether the line itself is wanted, of a unit that is."""
        wanted = self.text in line.text
        return wanted and (self.severities is None or severity_of(line.text, line.stream) in self.severities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A line with the unit that wrote it. `offset` is where its next line begins."""

    time: datetime
    stream: str
    text: str
    unit: UnitStatus
    offset: int


async def read_logs(
    context: Context, principal: Principal, kind: Kind, name: str, query: LogQuery
) -> AsyncIterator[Record]:
    """Lines of the workload's units. Raises before the first line: `NotFound`, and `DriverUnavailable` unless they are
    followed."""
    resource = await readable_workload(context, principal, kind, name)
    if query.execution is not None:
        execution = await context.store.read(lambda tx: tx.executions.get(ExecutionId(query.execution or "")))
        if execution is None or execution.job_uid != resource.uid:
            raise NotFound(f"There is no execution {query.execution!r} of job {name!r}.")
    lines = _lines(context, resource.uid, query)
    return lines if query.follow else _from_first(await anext(lines, None), lines)


async def _from_first(first: Record | None, others: AsyncIterator[Record]) -> AsyncIterator[Record]:
    if first is not None:
        yield first
    async for record in others:
        yield record


async def readable_owners(context: Context, principal: Principal, kind: Kind, name: str) -> list[str]:
    """The uids of the workload and of its image, whichever there is: the public command line asks for the log of a
    pushed image by the name of a workload, which need not exist. Raises `Denied`, and `NotFound` where there is
    neither."""
    try:
        workload = [(await readable_workload(context, principal, kind, name)).uid]
        absent = None
    except NotFound as error:
        workload, absent = [], error
    where = (principal.workspace, Kind.IMAGE, f"{kind}/{name}")
    image = await context.store.read(lambda tx: tx.resources.get(*where))
    if image is None and absent is not None:
        raise absent
    return [*workload, *([image.uid] if image else [])]


async def readable_workload(context: Context, principal: Principal, kind: Kind, name: str) -> Resource:
    """The workload, if this principal may read what it prints. Raises `Denied` and `NotFound`."""
    require(principal, f"{kind.plural}:get")
    if principal.role is Role.WORKLOAD:
        raise Denied("A program may not read what other programs print.", hint="Use a person's key.")
    return await context.store.read(lambda tx: fetch(tx, principal.workspace, kind, name))


async def _lines(context: Context, resource_uid: str, query: LogQuery) -> AsyncIterator[Record]:
    places = _Places()
    heard, told = context.clock.monotonic(), False
    while True:
        # Asked before the lines are read: what was written until then is in them.
        more = query.follow and await context.store.read(partial(_may_write, resource_uid, query))
        try:
            sources = await _sources(context, resource_uid, query, places)
            if query.tail and not places.begun:
                lines, places.offsets = await _last(sources, query)
                for record in lines:
                    yield record
                if not query.follow:
                    return
            places.begun = True
            async for source, line in oldest_first(sources, places.offsets):
                places.offsets[source.unit.id] = line.offset
                if query.selects(line):
                    yield _record(source, line)
            places.finish(sources, context.clock.now())
            heard = context.clock.monotonic()
            told = False
        except DriverUnavailable as error:
            if not query.follow:
                if not places.offsets:
                    raise
                yield _notice(context, f"{error.message} There may be more.")
                return
            if not told and context.clock.monotonic() - heard > SILENT_DRIVER_S:
                told = True
                yield _notice(context, f"{error.message} What was printed since follows when it is back.")
            more = more or await context.store.read(lambda tx: tx.resources.by_uid(resource_uid)) is not None
        if not more:
            return
        await asyncio.sleep(FOLLOW_INTERVAL_S)


@dataclass(slots=True)
class _Places:
    """Up to where each unit was read. `finished` are those that write no more and were read to their end: of the many
    that ended a follower asks no more. `begun`: what was there at first was read."""

    offsets: dict[UnitId, int] = field(default_factory=dict)
    finished: set[UnitId] = field(default_factory=set)
    begun: bool = False

    def finish(self, read: Sequence[Source], now: datetime) -> None:
        """These were read to their end, as they were when they were listed."""
        over = now - timedelta(seconds=LATE_S)
        self.finished |= {one.unit.id for one in read if one.unit.ended_at is not None and one.unit.ended_at < over}


def _record(source: Source, line: LogLine) -> Record:
    return Record(time=line.time, stream=line.stream, text=line.text, unit=source.unit, offset=line.offset)


def _notice(context: Context, text: str) -> Record:
    """A line of Homeport's own: of no unit, and no place to read on from."""
    nobody = UnitStatus(id=UnitId(""), kind=UnitKind.REPLICA, state=UnitState.RUNNING)
    return Record(time=context.clock.now(), stream="stderr", text=f"[homeport] {text}", unit=nobody, offset=0)


def _may_write(resource_uid: str, query: LogQuery, tx: Transaction) -> bool:
    """Whether something that the query selects may write another line, with a unit that there is or without one yet.
    An agent, and a job as a whole, may for as long as it exists."""
    if tx.resources.by_uid(resource_uid) is None:
        return False
    if query.build:
        newest_first = tx.revisions.of(resource_uid)
        chosen = [one for one in newest_first if query.revision is None or one.id == query.revision]
        return bool(chosen) and chosen[0].state in (RevisionState.UPLOADING, RevisionState.BUILDING)
    if query.execution is None:
        return True
    execution_id = ExecutionId(query.execution)
    execution = tx.executions.get(execution_id)
    if execution is None or execution.status.terminal:
        return False
    task = None if query.task is None else tx.executions.task(execution_id, query.task)
    return task is None or not task.status.terminal


async def _sources(context: Context, resource_uid: str, query: LogQuery, places: _Places) -> list[Source]:
    window = {"start": query.since, "end": query.until}
    given = {side: moment for side, moment in window.items() if moment is not None}
    return [
        Source(driver=driver, unit=unit, **given)
        for driver, units in await units_of(context, resource_uid)
        for unit in units
        if _wanted(unit, query) and unit.id not in places.finished
    ]


async def _last(sources: Sequence[Source], query: LogQuery) -> tuple[list[Record], dict[UnitId, int]]:
    """The last lines that are wanted, oldest first, and the offsets behind all that there is now, from which a follower
    goes on. For others no unit is opened to ask for its end."""
    offsets = {source.unit.id: await end_of(source) for source in sources if query.follow and not source.empty}
    kept: list[Record] = []
    size = 0
    async for source, line in newest_first(sources):
        if line.offset > offsets.get(source.unit.id, line.offset) or not query.selects(line):
            continue  # what was written since then comes later
        kept.append(_record(source, line))
        size += len(line.text)
        if len(kept) == query.tail or size > TAIL_BYTES:
            break
    return kept[::-1], offsets


def _wanted(unit: UnitStatus, query: LogQuery) -> bool:
    asked = {"execution": query.execution, "revision": query.revision, "replica": query.replica}
    asked["task"] = None if query.task is None else str(query.task)
    mine = all(value is None or unit.labels.get(label) == value for label, value in asked.items())
    return mine and (unit.kind is UnitKind.BUILD) == query.build
