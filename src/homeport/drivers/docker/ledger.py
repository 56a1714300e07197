"""What the driver writes down of its units: begun, asked to end and why, ended, forgotten. Owned by the driver.

The containers themselves say how units are and how they ended; this numbers the ends, once and for all, and remembers
what no container can: that somebody asked for an end, and that a container was there before somebody else removed it.
The file is a `homeport.node.journal`, without environments, so that no secret reaches it.
"""

import asyncio
import logging
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.errors import DiskFull
from homeport.core.ids import UnitId
from homeport.core.units import UnitExit, UnitSpec, UnitStatus
from homeport.node.ending import Intent
from homeport.node.journal import Journal, Record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One unit as it is written down. `end` is None while it has not ended."""

    spec: UnitSpec
    accepted: datetime
    intent: Intent | None = None
    end: UnitExit | None = None


class Ledger:
    """Every unit that is not forgotten, in order of start; each change is on the disk when its call returns, or raises
    `DiskFull` and has not happened."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[UnitId, Entry] = {}
        self._ends: list[UnitExit] = []
        self._next = 1
        self._news = asyncio.Event()
        self._path = path
        self._journal = Journal(path)
        for record in self._journal.records:
            self._replay(record)

    @property
    def entries(self) -> list[Entry]:
        return [*self._entries.values()]

    async def begin(self, spec: UnitSpec, accepted: datetime) -> None:
        await self._keep({"start": spec.without_secrets().to_json(), "at": timestamp(accepted)})

    async def intend(self, unit: UnitId, intent: Intent) -> None:
        await self._keep({"intent": unit, "why": asdict(intent)})

    async def end(self, status: UnitStatus) -> None:
        """Number the end and tell it to every reader."""
        number, self._next = self._next, self._next + 1
        await self._keep({"end": {"seq": number, "status": status.to_json()}})
        self._news.set()
        self._news = asyncio.Event()

    async def forget(self, unit: UnitId) -> None:
        await self._keep({"forget": unit})
        self._journal.rewrite_if_long(self._records)

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        if after >= self._next:
            log.error("a reader has seen end %d, and the next to be told is %d; all are told", after, self._next)
            after = 0
        while True:
            news = self._news
            while (position := bisect_right(self._ends, after, key=lambda end: end.seq)) < len(self._ends):
                after = self._ends[position].seq
                yield self._ends[position]
            await news.wait()

    def close(self) -> None:
        self._journal.close()

    async def _keep(self, record: Record) -> None:
        try:
            await self._journal.append(record)
        except OSError as error:
            raise DiskFull(detail=f"{self._path}: {error}") from error
        self._replay(record)

    def _replay(self, record: Record) -> None:
        if "start" in record:
            spec = UnitSpec.from_json(record["start"])
            self._entries[spec.id] = Entry(spec=spec, accepted=parse_timestamp(record["at"]))
        elif "intent" in record:
            if entry := self._entries.get(record["intent"]):
                self._entries[entry.spec.id] = replace(entry, intent=Intent(**record["why"]))
        elif "end" in record:
            end = UnitExit(seq=record["end"]["seq"], status=UnitStatus.from_json(record["end"]["status"]))
            self._next = max(self._next, end.seq + 1)
            if entry := self._entries.get(end.status.id):
                self._entries[entry.spec.id] = replace(entry, end=end)
                self._ends.append(end)
        elif "forget" in record:
            entry = self._entries.pop(record["forget"], None)
            if entry and entry.end:  # thousands are forgotten in one go: found by its number
                del self._ends[bisect_left(self._ends, entry.end.seq, key=lambda end: end.seq)]
        elif "next" in record:
            self._next = max(self._next, record["next"])

    def _records(self) -> Iterator[Record]:
        """The file anew, without what is forgotten."""
        yield {"next": self._next}
        for entry in self._entries.values():
            yield {"start": entry.spec.to_json(), "at": timestamp(entry.accepted)}
            if entry.intent:
                yield {"intent": entry.spec.id, "why": asdict(entry.intent)}
        for end in self._ends:
            yield {"end": {"seq": end.seq, "status": end.status.to_json()}}
