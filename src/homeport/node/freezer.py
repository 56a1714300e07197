"""The kernel's freezer of one control group, version 1 or 2: its processes stand still, with memory and sockets kept,
and whatever they fork stands still, too. Used by the node for its units and by the docker driver for containers.

What was asked for stands in the kernel, so whoever comes after a SIGKILL reads it there. With version 1 a signal waits
for the thaw, SIGKILL included; with version 2 SIGKILL ends a process that stands still.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homeport.core.clock import SystemClock

REST_WAIT_S = 2.0  # ordinarily below a millisecond; a process that waits for a slow disk takes as long as that
_POLL_S = (0.0005, 0.02)  # between looks: doubling from the first to the second


@dataclass(frozen=True, slots=True)
class Freezer:
    """`folder`: the group's directory. Its methods raise OSError, where the group is gone for example."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Freezer | None":
        """The freezer of the group at `folder`, or None where the kernel has none for it."""
        files = ("cgroup.freeze", "freezer.state")
        return cls(folder) if any((folder / name).exists() for name in files) else None

    @property
    def asked(self) -> bool:
        """Whether it is frozen, or on the way to it."""
        name = "cgroup.freeze" if self._unified else "freezer.self_freezing"
        return (self.folder / name).read_text().strip() == "1"

    @property
    def rests(self) -> bool:
        """Whether every process stands still."""
        if self._unified:
            return "frozen 1" in (self.folder / "cgroup.events").read_text().splitlines()
        return (self.folder / "freezer.state").read_text().strip() == "FROZEN"

    def ask(self, frozen: bool) -> None:
        """Begin to freeze, or thaw: that is done when this returns."""
        if self._unified:
            (self.folder / "cgroup.freeze").write_text("1" if frozen else "0")
        else:
            (self.folder / "freezer.state").write_text("FROZEN" if frozen else "THAWED")

    async def settle(self, wanted: Callable[[], bool]) -> bool:
        """Wait until every process stands still. False where that is not `wanted` any more, or takes too long."""
        deadline, wait_s = SystemClock().monotonic() + REST_WAIT_S, _POLL_S[0]
        while wanted():
            if self.rests:
                return True
            if SystemClock().monotonic() > deadline:
                return False
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _POLL_S[1])
        return False

    @property
    def _unified(self) -> bool:
        return (self.folder / "cgroup.freeze").exists()
