"""The limit of what a unit writes to the disk: counted, since no file system here knows of units. Run by the
supervisor, and by the docker driver where it sees what containers write.

It counts when the disk has lost some space since the last time, and now and then in any case; a unit that wrote more
than its limit is ended. The kernel itself stops a single file at the limit (RLIMIT_FSIZE, set at the start).
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Something to which a unit writes, and how much may be in it: directories; its processes, and what the names of
    their files there begin with. volume: its name; empty for what is the unit's own."""

    folders: list[str]
    pids: list[int]
    places: list[str]
    most_mb: int
    volume: str = ""

    @property
    def excess(self) -> Intent:
        """Why a unit ends that wrote more."""
        if self.volume:
            return Intent(reason=f"disk: more than {self.most_mb} MB in the volume {self.volume}")
        return Intent.disk(self.most_mb)


class Counted(Protocol):
    """A unit, as far as what it writes goes."""

    @property
    def spec(self) -> UnitSpec: ...

    @property
    def lives(self) -> bool: ...

    def writes(self, tree: dict[int, list[int]]) -> list[Written]: ...

    def end(self, intent: Intent, grace_s: float) -> None: ...


class Quota:
    """Looks after every living unit that `units` returns, until it is cancelled. data: where they write, or None while
    there is nothing."""

    def __init__(self, units: Callable[[], Iterable[Counted]], data: Callable[[], Path | None]) -> None:
        self._units = units
        self._data = data
        self._last: dict[str, int] = {}  # bytes in the directory of a volume when it was last counted
        self._found: dict[tuple[str, str], int] = {}  # what a unit found there, by the last count before it

    async def run(self) -> None:
        clock = SystemClock()
        counted, free, took_s = clock.monotonic(), 0, 0.0
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                if (data := self._data()) is None:
                    continue
                now_free = free_bytes(data)
                news = min([NEWS_BYTES, *(_least_mb(unit.spec) * MIB // 4 for unit in self._units() if unit.lives)])
                rested_s = clock.monotonic() - counted
                if rested_s < took_s or (free - now_free < news and rested_s < REST_S):
                    free = max(free, now_free)
                    continue
                began, free = clock.monotonic(), now_free
                await self._count()
                counted = clock.monotonic()
                took_s = counted - began
            except (OSError, ValueError) as error:  # no process to be had, or it was killed: the next look is soon
                log.warning("what units wrote cannot be counted now: %s", error)

    async def _count(self) -> None:
        units = [unit for unit in self._units() if unit.lives]
        if not units:
            self._found.clear()
            return
        tree = processes.children_by_parent()
        found = {str(n): each for n, each in enumerate((unit, one) for unit in units for one in unit.writes(tree))}
        asked = [
            {"unit": key, "folders": one.folders, "pids": one.pids, "places": one.places}
            for key, (_, one) in found.items()
        ]
        _, answer = await run_script(measure.__file__, given=json.dumps(asked).encode())
        sizes: dict[str, int] = {}
        for key, (size, files) in json.loads(answer).items():
            unit, one = found[key]
            if one.volume:
                sizes[one.folders[0]] = size
            if size > self._most_bytes(unit, one):
                unit.end(one.excess, 0)
            elif files > measure.FILES_MOST:
                unit.end(Intent(reason=f"disk: more than {measure.FILES_MOST} files written or in use"), 0)
        self._last = {path: size for path, size in {**self._last, **sizes}.items() if Path(path).is_dir()}
        living = {unit.spec.id for unit in units}
        self._found = {key: size for key, size in self._found.items() if key[0] in living}

    def _most_bytes(self, unit: Counted, one: Written) -> int:
        """A volume may be full already when a unit starts with it, as the one before left it: then the unit may read
        and remove, and write nothing more. Not without end: each start may add a little unseen."""
        most = one.most_mb * MIB
        if not one.volume:
            return most
        at_first = self._found.setdefault((unit.spec.id, one.volume), self._last.get(one.folders[0], 0))
        return max(most, min(at_first, most + most // 4 + NEWS_BYTES))


def _least_mb(spec: UnitSpec) -> int:
    return min(spec.disk_mb, *(mount.size_mb for mount in spec.volumes if mount.writable), spec.disk_mb)
