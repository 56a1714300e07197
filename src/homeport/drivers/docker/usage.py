"""What containers use: the memory they held at most, and what they write to the disk, which ends at their limit. Run by
the docker driver.

Where the engine is this machine's and Homeport may look, what a container writes is counted as what a program writes:
its writable layer, the volumes that its image declares, and removed files that it has open. Elsewhere the engine is
asked for the size of the layer, which it walks through for that: seldom.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from homeport.core.clock import SystemClock
from homeport.core.errors import Unavailable
from homeport.core.service import Background
from homeport.core.units import UnitSpec
from homeport.drivers.docker.engine import Engine, EngineError
from homeport.drivers.docker.lives import Lives
from homeport.drivers.docker.unit import Unit
from homeport.node import processes
from homeport.node.cgroups import peak_bytes_of
from homeport.node.ending import Intent
from homeport.node.quota import MIB, Quota, Written

log = logging.getLogger(__name__)

PEAK_S = 1.0  # between looks at the memory: the kernel keeps the most, but only as long as the container lives
ASK_S = 30.0  # between questions to an engine elsewhere
ASK_SHARE = 20  # and so many times as long as the last round of them took


class Usage:
    """Looks after the units of one driver."""

    def __init__(self, engine: Engine, lives: Lives) -> None:
        self._engine = engine
        self._lives = lives
        self._background = Background()

    def start(self) -> None:
        self._background.spawn("docker.quota", Quota(self._seen, self._place).run())
        self._background.spawn("docker.sizes", self._ask_now_and_then())
        self._background.spawn("docker.peaks", self._note_peaks())

    async def stop(self) -> None:
        await self._background.stop()

    def _seen(self) -> Iterator["_Seen"]:
        """The units of which this machine sees what they write."""
        return (_Seen(unit, self._lives) for unit in self._lives.units.values() if unit.lives and unit.written)

    def _place(self) -> Path | None:
        return next((seen.unit.written["/"] for seen in self._seen()), None)

    async def _note_peaks(self) -> None:
        while True:
            await asyncio.sleep(PEAK_S)
            for unit in [*self._lives.units.values()]:
                if unit.lives and (pid := self._lives.visible_pid(unit)):
                    unit.peak_bytes = peak_bytes_of(pid) or unit.peak_bytes

    async def _ask_now_and_then(self) -> None:
        clock, rest_s = SystemClock(), ASK_S
        while True:
            await asyncio.sleep(rest_s)
            began = clock.monotonic()
            for unit in [*self._lives.units.values()]:
                if unit.lives and not unit.written:
                    with contextlib.suppress(Unavailable, EngineError):  # asked again the next time
                        await self._ask(unit)
            rest_s = max(ASK_S, ASK_SHARE * (clock.monotonic() - began))

    async def _ask(self, unit: Unit) -> None:
        size = await self._engine.written_bytes(unit.container)
        if size > unit.spec.disk_mb * MIB:
            await self._lives.end(unit, Intent.disk(unit.spec.disk_mb), 0)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A unit as the count of what is written sees it."""

    unit: Unit
    owner: Lives

    @property
    def spec(self) -> UnitSpec:
        return self.unit.spec

    @property
    def lives(self) -> bool:
        return self.unit.lives

    def writes(self, tree: dict[int, list[int]]) -> list[Written]:
        first = self.owner.visible_pid(self.unit)
        pids = [first, *processes.descendants(first, tree)] if first else []
        volumes = {mount.path: mount for mount in self.spec.volumes}
        own = [str(folder) for place, folder in self.unit.written.items() if place not in volumes]
        return [
            Written(folders=own, pids=pids, places=["/"], most_mb=self.spec.disk_mb),
            *(
                Written(
                    folders=[str(folder)],
                    pids=[],
                    places=[],
                    most_mb=volumes[place].size_mb,
                    volume=volumes[place].name,
                )
                for place, folder in self.unit.written.items()
                if place in volumes
            ),
        ]

    def end(self, intent: Intent, grace_s: float) -> None:
        self.owner.spawn("disk", self.unit, self.owner.end(self.unit, intent, grace_s))
