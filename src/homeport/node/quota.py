"""The limit of what a unit writes to the disk: counted, since no file system here knows of units. Run by the
supervisor, and by the docker driver where it sees what containers write.

It counts when the disk has lost some space since the last time, and now and then in any case; a unit that wrote more
than its limit is ended. The kernel itself stops a single file at the limit (RLIMIT_FSIZE, set at the start).
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypedDict

from homeport.core.clock import SystemClock
from homeport.core.space import free_bytes
from homeport.core.units import UnitSpec
from homeport.node import measure, processes
from homeport.node.ending import Intent
from homeport.node.scripts import run_script

log = logging.getLogger(__name__)

PERIOD_S = 0.25  # between looks at the free space: one call of the kernel
REST_S = 15.0  # between counts on a disk that loses nothing
NEWS_BYTES = 64 * 1024 * 1024  # lost since the last count: count now
MIB = 1024 * 1024


class Writes(TypedDict):
    """Where a unit writes: directories; its processes, and what the names of their files on the disk begin with."""

    folders: list[str]
    pids: list[int]
    places: list[str]


class Counted(Protocol):
    """A unit, as far as what it writes goes."""

    @property
    def spec(self) -> UnitSpec: ...

    @property
    def lives(self) -> bool: ...

    def writes(self, tree: dict[int, list[int]]) -> Writes: ...

    def end(self, intent: Intent, grace_s: float) -> None: ...


class Quota:
    """Looks after every living unit that `units` returns, until it is cancelled. data: where they write, or None while
    there is nothing."""

    def __init__(self, units: Callable[[], Iterable[Counted]], data: Callable[[], Path | None]) -> None:
        self._units = units
        self._data = data

    async def run(self) -> None:
        clock = SystemClock()
        counted, free = clock.monotonic(), 0
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                if (data := self._data()) is None:
                    continue
                now_free = free_bytes(data)
                news = min([NEWS_BYTES, *(unit.spec.disk_mb * MIB // 4 for unit in self._units() if unit.lives)])
                if free - now_free < news and clock.monotonic() - counted < REST_S:
                    free = max(free, now_free)
                    continue
                counted, free = clock.monotonic(), now_free
                await self._count()
            except (OSError, ValueError) as error:  # no process to be had, or it was killed: the next look is soon
                log.warning("what units wrote cannot be counted now: %s", error)

    async def _count(self) -> None:
        units = {str(unit.spec.id): unit for unit in self._units() if unit.lives}
        if not units:
            return
        tree = processes.children_by_parent()
        asked = [{"unit": name, **unit.writes(tree)} for name, unit in units.items()]
        _, answer = await run_script(measure.__file__, given=json.dumps(asked).encode())
        for name, (size, files) in json.loads(answer).items():
            unit = units[name]
            if size > unit.spec.disk_mb * MIB:
                unit.end(Intent.disk(unit.spec.disk_mb), 0)
            elif files > measure.FILES_MOST:
                unit.end(Intent(reason=f"disk: more than {measure.FILES_MOST} files written or in use"), 0)
