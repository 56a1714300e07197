"""The log of a build that no unit of ours runs, as the output of one: a unit of the node prints what is written here.
So it is kept, bounded, stamped, read and forgotten like the log of any other build.
"""

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path

from homeport.build.bundle import remove_tree
from homeport.core.clock import Clock
from homeport.core.errors import DriverUnavailable
from homeport.core.units import Mount, UnitKind, UnitSpec
from homeport.drivers.contract import Driver

MEMORY_MB = 64  # of a program that copies its input
MAX_PROCESSES = 16
_PIPE = "pipe"
_SHOWN = "/log"  # where the unit sees the folder
_OPEN_S = 20.0  # until the unit reads: a sandbox starts within hundredths of a second
_LOOK_S = 0.02


class BuildLog:
    """Made by `opened`, once a unit reads what is written."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    @classmethod
    async def opened(cls, driver: Driver, clock: Clock, folder: Path, unit: UnitSpec) -> "BuildLog":
        """`unit` says all but what it runs; `folder` is made. Raises `DriverUnavailable` where it does not start."""
        await asyncio.to_thread(_make, folder)
        mounts = (Mount(source=str(folder), target=_SHOWN),)
        await driver.start(_printing(unit, mounts))
        began = clock.monotonic()
        while clock.monotonic() - began < _OPEN_S:
            try:
                return cls(os.open(folder / _PIPE, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads yet
                    raise
            await asyncio.sleep(_LOOK_S)
        raise DriverUnavailable(detail=f"unit {unit.id} does not read the log of its build")

    async def say(self, *lines: str) -> None:
        """Print lines. Nothing where the unit is gone: the build goes on without its log."""
        rest = memoryview("".join(f"{line}\n" for line in lines).encode(errors="replace"))
        while rest and self._pipe is not None:
            try:
                rest = rest[os.write(self._pipe, rest) :]
            except BlockingIOError:  # the node is away, or slow
                await asyncio.sleep(_LOOK_S)
            except BrokenPipeError:
                self.close()

    def close(self) -> None:
        """The unit ends once it has printed what was written."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def _make(folder: Path) -> None:
    remove_tree(folder)
    folder.mkdir(mode=0o755)
    os.mkfifo(folder / _PIPE)
    (folder / _PIPE).chmod(0o644)


def _printing(unit: UnitSpec, mounts: tuple[Mount, ...]) -> UnitSpec:
    return replace(
        unit,
        kind=UnitKind.BUILD,
        argv=("cat", f"{_SHOWN}/{_PIPE}"),
        env={"PATH": "/usr/bin:/bin"},
        workdir="/",
        mounts=mounts,
        memory_mb=MEMORY_MB,
        max_processes=MAX_PROCESSES,
    )
