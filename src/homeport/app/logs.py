"""The output of a workload's programs and builds, read from the units that wrote it, oldest first, live on request."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from homeport.app.context import Context
from homeport.app.placed import units_of
from homeport.app.resources import fetch
from homeport.core.errors import Denied, DriverUnavailable, NotFound
from homeport.core.ids import ExecutionId, Kind, UnitId
from homeport.core.units import UnitKind, UnitState, UnitStatus
from homeport.drivers.contract import Driver
from homeport.identity.principals import Principal, Role
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Resource
from homeport.workloads.states import RevisionState

BATCH_LINES = 500  # lines a read: keeps one answer of the driver small
FOLLOW_INTERVAL_S = 0.2  # how soon a new line is seen
SILENT_DRIVER_S = 3.0  # a follower sits out a driver that is away, and is told of it unless that is back by then


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """`build` reads the builds, else the programs. `execution` and `task` narrow a job's, `revision` either. `tail`
    keeps the last lines of what exists now, 0 for all. `follow` goes on until nothing that could write is left, or
    the caller leaves."""

    build: bool = False
    follow: bool = False
    execution: str | None = None
    task: int | None = None
    revision: str | None = None
    tail: int = 0


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
    offsets: dict[UnitId, int] = {}
    heard, told = context.clock.monotonic(), False
    tail = query.tail
    while True:
        # Asked before the lines are read: what was written until then is in them.
        more = query.follow and await context.store.read(partial(_may_write, resource_uid, query))
        try:
            records = _merged(await _sources(context, resource_uid, query, offsets))
            if tail:
                for record in await _last(records, tail, offsets):
                    yield record
                tail = 0
            async for record in records:
                offsets[record.unit.id] = record.offset
                yield record
            heard = context.clock.monotonic()
            told = False
        except DriverUnavailable as error:
            if not query.follow:
                if not offsets:
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


async def _sources(
    context: Context, resource_uid: str, query: LogQuery, offsets: dict[UnitId, int]
) -> list[AsyncIterator[Record]]:
    return [
        _new_lines(driver, unit, offsets.get(unit.id, 0))
        for driver, units in await units_of(context, resource_uid)
        for unit in _wanted(units, query)
    ]


async def _merged(sources: Sequence[AsyncIterator[Record]]) -> AsyncIterator[Record]:
    """The lines of all sources, oldest first. It holds one of each, however long they are."""
    heads: list[tuple[datetime, int, Record]] = []
    for place, source in enumerate(sources):
        if (record := await anext(source, None)) is not None:
            heads.append((record.time, place, record))
    heapq.heapify(heads)
    while heads:
        _, place, record = heads[0]
        yield record
        if (following := await anext(sources[place], None)) is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.time, place, following))


async def _last(records: AsyncIterator[Record], count: int, offsets: dict[UnitId, int]) -> list[Record]:
    """The last `count` records. `offsets` goes past all of them, so that a follower does not get the others later."""
    kept: deque[Record] = deque(maxlen=count)
    reached: dict[UnitId, int] = {}
    async for record in records:
        reached[record.unit.id] = record.offset
        kept.append(record)
    offsets.update(reached)
    return [*kept]


def _wanted(units: Sequence[UnitStatus], query: LogQuery) -> list[UnitStatus]:
    def wanted(unit: UnitStatus) -> bool:
        labels = unit.labels
        return (
            (unit.kind is UnitKind.BUILD) == query.build
            and (query.execution is None or labels.get("execution") == query.execution)
            and (query.revision is None or labels.get("revision") == query.revision)
            and (query.task is None or labels.get("task") == str(query.task))
        )

    return [unit for unit in units if wanted(unit)]


async def _new_lines(driver: Driver, unit: UnitStatus, offset: int) -> AsyncIterator[Record]:
    while lines := await driver.log(unit.id, offset, BATCH_LINES):
        for line in lines:
            yield Record(time=line.time, stream=line.stream, text=line.text, unit=unit, offset=line.offset)
        offset = lines[-1].offset
