"""What a driver promises. Every implementation passes `homeport.testing.driver_suite`.

A driver owns units (`homeport.core.units`) and nothing above them: it knows no agents, no jobs and no policies. The
reconcile loops and the runner call it; a unit's id is chosen by the caller, so that a repeated start is harmless.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol

from homeport.core.ids import UnitId
from homeport.core.units import LogLine, UnitExit, UnitSpec, UnitStatus


class Driver(Protocol):
    """Runs units. Every method raises `DriverUnavailable` while the owner of the processes does not answer."""

    @property
    def name(self) -> str:
        """The driver's name in a region's configuration, such as `process`."""
        ...

    async def start(self, spec: UnitSpec) -> UnitStatus:
        """Start `spec` and return once its process exists. A second start of the same id and generation returns the
        present status and starts nothing, ended or not; an older generation raises `Conflict`. A start that raises has
        started nothing and leaves nothing: `DriverUnavailable` also says that the machine has no room now."""
        ...

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        """Ask the unit to end (SIGTERM to every process), kill it after `grace_s` seconds. Returns at once; the end
        appears in `exits`. Unknown or ended units are left alone. A frozen one is thawed, so that it hears the
        request."""
        ...

    async def freeze(self, unit: UnitId) -> None:
        """Let no process of the unit run until it is thawed, nor any that those forked. It keeps its memory and its
        sockets: the kernel goes on taking connections to a port on which it listens, as many as its backlog holds.
        Returns when all stand still, and is repeated without harm. A frozen unit stays so whoever of ours is killed.
        Its own timeout goes on; the end of one that is frozen thaws it.

        Raises `NotFound` for an unknown unit, `Conflict` for one that does not run or is being ended, `Unsupported`
        where this machine can freeze nothing (`info` says so: `freezer`), `DriverUnavailable` also where the unit does
        not come to rest; it runs then."""
        ...

    async def thaw(self, unit: UnitId) -> None:
        """Let the unit's processes run again, as they do when this returns. Nothing where they do. Raises `NotFound`
        and `Conflict` as `freeze` does."""
        ...

    async def signal(self, unit: UnitId, number: int) -> None:
        """Send a signal to the unit's main process, the command of its specification or image, and to no other. What
        it does about it is not awaited; an end by it is the unit's own, not `stopped`. Raises `Invalid` for a number
        that is none, and for SIGSTOP; `NotFound` and `Conflict` as `freeze` does, and `Conflict` for a frozen unit,
        which would not hear it."""
        ...

    async def status(self, unit: UnitId) -> UnitStatus | None:
        """The unit's status, or None for a unit that was never started or was forgotten."""
        ...

    async def units(self) -> list[UnitStatus]:
        """Every unit that is not forgotten, in order of start."""
        ...

    async def listening(self, unit: UnitId) -> frozenset[int]:
        """The TCP ports on which processes of this unit, and of no other, listen now."""
        ...

    async def listening_inside(self, unit: UnitId) -> frozenset[int]:
        """Those on which it listens where nobody else can reach it: on the loopback of a network of its own."""
        ...

    def exits(self, after: int) -> AsyncIterator[UnitExit]:
        """Every end with `seq` greater than `after`, then each new one as it happens; never ends by itself. An end is
        durable before it is told. A driver that has lost what `after` names tells everything that it knows."""
        ...

    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        """At most `limit` lines of the unit's output from `offset` on (0: the oldest that is kept). Empty at the
        end; the caller asks again. Where lines before the oldest were dropped, the first line says so. Works while and
        after the unit lives, until it is forgotten."""
        ...

    async def log_before(self, unit: UnitId, before: datetime, limit: int) -> list[LogLine]:
        """At most `limit` lines, the newest of those stamped before `before`, oldest first. A unit's lines are stamped
        in their order, no two alike, so the first one's time leads to those before it."""
        ...

    async def discard_volume(self, volume: str) -> None:
        """Take the content of the volume of this id away for good, as far as this driver has any. It is gone for every
        later start when this returns; its removal may go on. Raises `Conflict` while a unit lives that has it."""
        ...

    async def forget(self, unit: UnitId) -> None:
        """Remove an ended unit with its output and its private files. Raises `Conflict` while it lives."""
        ...

    async def info(self) -> dict[str, Any]:
        """Facts about the machine and the isolation, for people (`homeport status`)."""
        ...

    async def close(self) -> None:
        """Release connections; units live on."""
        ...
