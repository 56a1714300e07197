"""The lines of several units as one, in either direction, however many units and lines there are.

Shared by `homeport.app.logs` (oldest first, live) and `homeport.app.log_search` (newest first). A unit is opened only
when its time has come, and of each open one a portion is held: what is in memory depends on how many wrote at one time.
"""

import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from homeport.core.ids import UnitId
from homeport.core.units import LogLine, UnitStatus
from homeport.drivers.contract import Driver

PORTION_LINES = 250  # lines a read
OPEN_LINES = 20_000  # held of all open units together; where very many are open, a portion is smaller
LATE_S = 5.0  # the last lines of a unit may be stamped this much after its end

EVER = datetime.max.replace(tzinfo=UTC)
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A unit with the time from which its lines are wanted, and before which."""

    driver: Driver
    unit: UnitStatus
    start: datetime = _NEVER
    end: datetime = EVER

    @property
    def first(self) -> datetime:
        """No line of it is earlier."""
        return max(self.start, self.unit.started_at or _NEVER)

    @property
    def last(self) -> datetime:
        """No line of it is later."""
        ended = self.unit.ended_at
        return self.end if ended is None else min(self.end, ended + timedelta(seconds=LATE_S))

    @property
    def empty(self) -> bool:
        """No line of it can be wanted."""
        return self.first > self.last


def oldest_first(sources: Iterable[Source], offsets: Mapping[UnitId, int]) -> AsyncIterator[tuple[Source, LogLine]]:
    """Every line from the unit's offset on, where it has one."""
    return _merged(
        sources,
        lambda source, portion: _forwards(source, offsets.get(source.unit.id), portion),
        begins=lambda source: source.first,
        rank=datetime.timestamp,
    )


def newest_first(sources: Iterable[Source]) -> AsyncIterator[tuple[Source, LogLine]]:
    """Every line. A unit is read only once nothing newer than its end is left, so the many that ended before what is
    asked for cost nothing."""
    return _merged(sources, _backwards, begins=lambda source: source.last, rank=lambda time: -time.timestamp())


async def _merged(
    sources: Iterable[Source],
    read: Callable[[Source, int], AsyncIterator[LogLine]],
    *,
    begins: Callable[[Source], datetime],
    rank: Callable[[datetime], float],
) -> AsyncIterator[tuple[Source, LogLine]]:
    """The line of the lowest rank first. `read` gives a unit's lines so, from `begins` on."""
    unread = sorted((one for one in sources if not one.empty), key=lambda source: rank(begins(source)), reverse=True)
    portion = _portion(len(unread))
    heads: list[tuple[float, int, LogLine, Source, AsyncIterator[LogLine]]] = []
    opened = 0
    while heads or unread:
        while unread and (not heads or rank(begins(unread[-1])) <= heads[0][0]):
            source = unread.pop()
            reader = read(source, portion)
            opened += 1
            if (line := await anext(reader, None)) is not None:
                heapq.heappush(heads, (rank(line.time), opened, line, source, reader))
        if not heads:
            return
        _, place, line, source, reader = heads[0]
        yield source, line
        if (following := await anext(reader, None)) is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (rank(following.time), place, following, source, reader))


async def end_of(source: Source) -> int:
    """The offset behind the newest line; 0 where there is none."""
    newest = await source.driver.log_before(source.unit.id, EVER, 1)
    return newest[-1].offset if newest else 0


def _portion(units: int) -> int:
    return max(1, min(PORTION_LINES, OPEN_LINES // max(1, units)))


async def _forwards(source: Source, offset: int | None, portion: int) -> AsyncIterator[LogLine]:
    if offset is None:
        # What is before the wanted time is not read: the line just before it says where to begin.
        before = [] if source.start == _NEVER else await source.driver.log_before(source.unit.id, source.start, 1)
        offset = before[-1].offset if before else 0
    while lines := await source.driver.log(source.unit.id, offset, portion):
        for line in lines:
            if line.time >= source.end:
                return
            yield line
        offset = lines[-1].offset


async def _backwards(source: Source, portion: int) -> AsyncIterator[LogLine]:
    end = source.end
    while lines := await source.driver.log_before(source.unit.id, end, portion):
        for line in reversed(lines):
            if line.time < source.start:
                return
            yield line
        end = lines[0].time
