"""Search in what workloads and their builds printed, newest first, as the public contract has it.

Works backwards through the units that may have lines of the wanted time, and looks at a bounded number of lines;
`homeport.app.logs` is the other reader, oldest first and live.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from homeport.app.context import Context
from homeport.app.log_units import Source, newest_first
from homeport.app.logs import readable_owners
from homeport.app.placed import units_of
from homeport.app.severity import Severity, severity_of
from homeport.core.ids import ExecutionId, Kind
from homeport.core.units import UnitKind, UnitStatus
from homeport.drivers.contract import Driver
from homeport.identity.principals import Principal

LINES_EXAMINED = 20_000  # of one workload in one search: about a second of work
# A client that watches a build asks from the moment at which it first saw it, which is some seconds after its
# beginning and, for a short one, after its end. So the newest build is shown whole if it ended no longer ago.
BUILD_LINGER_S = 30.0


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


def _sources(
    driver: Driver, mine: Sequence[UnitStatus], search: LogSearch, execution: ExecutionId | None
) -> list[Source]:
    newest_build = max((unit for unit in mine if unit.kind is UnitKind.BUILD), key=_started, default=None)
    found = []
    for unit in mine:
        if not _wanted(unit, search, execution):
            continue
        source = Source(driver=driver, unit=unit, start=search.start, end=search.end)
        if unit is newest_build and search.start - timedelta(seconds=BUILD_LINGER_S) <= source.last:
            source = replace(source, start=_started(unit))
        found.append(source)
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


async def _collect(sources: Sequence[Source], search: LogSearch) -> FoundLines:
    kept: list[FoundLine] = []
    matches = examined = 0
    async for _, line in newest_first(sources):
        examined += 1
        severity = severity_of(line.text, line.stream)
        if search.text in line.text and (search.severities is None or severity in search.severities):
            matches += 1
            if search.offset < matches <= search.offset + search.limit:
                kept.append(FoundLine(time=line.time, text=line.text, severity=severity))
        if examined >= LINES_EXAMINED:
            break
    return FoundLines(lines=kept, total=matches)
