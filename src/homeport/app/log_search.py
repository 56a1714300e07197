"""Search in what workloads and their builds printed, newest first, as the public contract has it.

Works backwards through the units that may have lines of the wanted time, and looks at a bounded number of lines;
`homeport.app.logs` is the other reader, oldest first and live.
"""

import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from homeport.app.context import Context
from homeport.app.logs import readable_owners
from homeport.app.placed import units_of
from homeport.app.severity import Severity, severity_of
from homeport.core.ids import ExecutionId, Kind
from homeport.core.units import LogLine, UnitKind, UnitStatus
from homeport.drivers.contract import Driver
from homeport.identity.principals import Principal

LINES_EXAMINED = 20_000  # of one workload in one search: about a second of work
BATCH_LINES = 250  # lines a read
LATE_S = 5.0  # the last lines of a unit may be stamped this much after its end
# A client that watches a build asks from the moment at which it first saw it, which is some seconds after its
# beginning and, for a short one, after its end. So the newest build is shown whole if it ended no longer ago.
BUILD_LINGER_S = 30.0

_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSearch:
    """Lines stamped from `start` on and before `end`. `severities` None means all. `text` must occur in the line.
    `execution` is an id or the beginning of one. `offset` leaves out the newest matches. No line belongs to a trace
    here, so a search for one finds nothing."""

    start: datetime
    end: datetime
    limit: int
    offset: int = 0
    builds: bool = True
    programs: bool = True
    severities: frozenset[Severity] | None = None
    text: str = ""
    execution: str = ""
    task: int | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLine:
    time: datetime
    text: str
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLines:
    """`lines` newest first. `total` counts the matches among the lines that were examined."""

    lines: list[FoundLine]
    total: int


async def search_logs(context: Context, principal: Principal, kind: Kind, name: str, search: LogSearch) -> FoundLines:
    """What the workload printed. Raises `NotFound` for one that is not there."""
    owners = await readable_owners(context, principal, kind, name)
    if search.trace:
        return FoundLines(lines=[], total=0)
    execution = None
    if search.execution:
        # The newest one whose id begins so: the public CLI shows no more than a beginning.
        own = (principal.workspace, name, search.execution)
        execution = await context.store.read(lambda tx: tx.executions.newest_like(*own))
        if execution is None:
            return FoundLines(lines=[], total=0)
    found = [placed for uid in owners for placed in await units_of(context, uid)]
    sources = [source for driver, units in found for source in _sources(driver, units, search, execution)]
    return await _collect(sources, search)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A unit with the time from which its lines are wanted, and the latest time that one of them may have."""

    driver: Driver
    unit: UnitStatus
    start: datetime
    latest: datetime


def _sources(
    driver: Driver, mine: Sequence[UnitStatus], search: LogSearch, execution: ExecutionId | None
) -> list[_Source]:
    newest_build = max((unit for unit in mine if unit.kind is UnitKind.BUILD), key=_started, default=None)
    found = []
    for unit in mine:
        if not _wanted(unit, search, execution):
            continue
        latest = _EVER if unit.ended_at is None else unit.ended_at + timedelta(seconds=LATE_S)
        start = search.start
        if unit is newest_build and start - timedelta(seconds=BUILD_LINGER_S) <= latest:
            start = _started(unit)
        if start <= latest and _started(unit) < search.end:
            found.append(_Source(driver=driver, unit=unit, start=start, latest=min(latest, search.end)))
    return found


def _wanted(unit: UnitStatus, search: LogSearch, execution: ExecutionId | None) -> bool:
    if unit.kind is UnitKind.BUILD:
        return search.builds and execution is None and search.task is None
    return (
        search.programs
        and (execution is None or unit.labels.get("execution") == execution)
        and (search.task is None or unit.labels.get("task") == str(search.task))
    )


def _started(unit: UnitStatus) -> datetime:
    return unit.started_at or datetime.min.replace(tzinfo=UTC)


async def _collect(sources: Sequence[_Source], search: LogSearch) -> FoundLines:
    kept: list[FoundLine] = []
    matches = examined = 0
    async for line in _newest_first(sources, search):
        examined += 1
        severity = severity_of(line.text, line.stream)
        if search.text in line.text and (search.severities is None or severity in search.severities):
            matches += 1
            if search.offset < matches <= search.offset + search.limit:
                kept.append(FoundLine(time=line.time, text=line.text, severity=severity))
        if examined >= LINES_EXAMINED:
            break
    return FoundLines(lines=kept, total=matches)


async def _newest_first(sources: Sequence[_Source], search: LogSearch) -> AsyncIterator[LogLine]:
    """The lines of all sources, newest first. A unit is read only once nothing newer than its end is left, so the
    many that ended before what is asked for cost nothing."""
    unread = sorted(sources, key=lambda source: source.latest)
    heads: list[tuple[float, int, LogLine, AsyncIterator[LogLine]]] = []
    opened = 0
    while heads or unread:
        while unread and (not heads or unread[-1].latest.timestamp() >= -heads[0][0]):
            reader = _backwards(unread.pop(), search.end)
            opened += 1
            if (first := await anext(reader, None)) is not None:
                heapq.heappush(heads, (-first.time.timestamp(), opened, first, reader))
        if not heads:
            return
        _, place, line, reader = heads[0]
        yield line
        if (following := await anext(reader, None)) is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (-following.time.timestamp(), place, following, reader))


async def _backwards(source: _Source, end: datetime) -> AsyncIterator[LogLine]:
    while lines := await source.driver.log_before(source.unit.id, end, BATCH_LINES):
        for line in reversed(lines):
            if line.time < source.start:
                return
            yield line
        end = lines[0].time
