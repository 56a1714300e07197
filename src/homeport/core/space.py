"""Room on the disk of the data directory. A file of some size is held in reserve; when the disk fills up it is removed,
so that there is room to write down how running work ends, and to cancel and delete. Until it can be made again
the disk counts as full: nothing new is accepted or started.

Made by the server. Whoever begins something that needs room asks `require` first; the rest goes on.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from homeport.core.errors import DiskFull
from homeport.core.limits import MIB
from homeport.core.service import Background

log = logging.getLogger(__name__)

RESERVE_BYTES = 32 * MIB  # some 30 000 changes of tasks, or the deletion of everything that is there
LOW_BYTES = 8 * MIB  # free besides the reserve; less is full: a second of busy writing may take so much
LOOK_INTERVAL_S = 1.0
_HINT = "Free some space there: what waits goes on by itself."
_WORKS = " Deleting and cancelling work meanwhile."
_WORKS_BYTES = MIB  # with less they may not
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Space:
    """The service, for the directory that holds the data. Before its first look there is room; without a `reserve` it
    never looks."""

    def __init__(self, folder: Path, reserve: Path | None) -> None:
        self._folder = folder
        self._reserve = reserve
        self._full = False
        self._background = Background()

    @classmethod
    def unwatched(cls) -> "Space":
        """Never full, since nobody looks."""
        return cls(Path(), None)

    async def start(self) -> None:
        """Takes the first look before it returns."""
        if not self._background.active:
            await asyncio.to_thread(self.look)
            self._background.spawn("space", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    @property
    def full(self) -> DiskFull | None:
        """What there is to say while the disk is full."""
        return disk_full(self._folder) if self._full else None

    def require(self) -> None:
        """Raises `DiskFull` while nothing new may begin."""
        if (error := self.full) is not None:
            raise error

    def look(self) -> None:
        """Look how much is free, and remove or make the reserve by that. Blocks for a moment."""
        if (reserve := self._reserve) is None:
            return
        was, self._full = self._full, not _has_room(self._folder, reserve)
        if self._full and not was:
            reserve.unlink(missing_ok=True)
            log.error("%s", disk_full(self._folder).for_caller())
        elif was and not self._full:
            log.info("there is room again on the disk of %s: what waited goes on", self._folder)

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                await asyncio.to_thread(self.look)
            except OSError:  # a disk that is gone: the store says so to everybody
                log.exception("the disk of %s cannot be looked at", self._folder)


def _has_room(folder: Path, reserve: Path) -> bool:
    free = free_bytes(folder)
    if not _held(reserve):
        # Made again only with some room left besides, or it would come and go with every small file.
        return free >= RESERVE_BYTES + 2 * LOW_BYTES and _make(reserve)
    return free >= LOW_BYTES


def _held(reserve: Path) -> bool:
    try:
        return reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    except FileNotFoundError:
        return False


def _make(reserve: Path) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            return True
        finally:
            os.close(descriptor)
    reserve.unlink(missing_ok=True)
    return False


def disk_full(folder: Path) -> DiskFull:
    """The error that says so, with what is free at this moment."""
    with contextlib.suppress(OSError):
        free = free_bytes(folder)
        hint = _HINT + (_WORKS if free >= _WORKS_BYTES else "")
        return DiskFull(f"The disk of {folder} is full: {free // MIB} MiB are free.", hint=hint)
    return DiskFull(f"The disk of {folder} is full.", hint=_HINT)


@contextlib.contextmanager
def full_disk_said(folder: Path) -> Iterator[None]:
    """What finds the disk of `folder` full, or its quota used up, in here raises `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise disk_full(folder) from error


def free_bytes(folder: Path) -> int:
    """Bytes of the disk of `folder` that a user without privileges may still write. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
