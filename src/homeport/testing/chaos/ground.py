"""What the faults act on: one Homeport on a small file system of its own, with a clock that can be moved.

The machine's disk and clock are never touched. Where a tmpfs cannot be mounted, the data directory is an ordinary one,
and there is no full disk; the report says so.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from homeport.testing.small_disk import mount, unmount
from homeport.testing.system import System

DISK_MB = 512  # room for all that a run keeps; what the faults take is this and no more
_BLOCK, _PAGE = 1 << 26, 4096  # the ballast grows by blocks, then halves of them, down to a page
_SHIM = Path(__file__).parent / "clock_shim"


class Ground:
    """system: the installation. no_disk: why there is no file system to fill, empty when there is one."""

    def __init__(self, root: Path, no_disk: str) -> None:
        self.no_disk = no_disk
        self._offset = root / "clock-offset"
        self._disk = root / "disk"
        self._ballast = self._disk / "ballast"
        environment = {"PYTHONPATH": str(_SHIM), "HOMEPORT_TEST_CLOCK": str(self._offset)}
        self.system = System(self._disk / "data", environment)

    def step_clock(self, offset_s: float) -> None:
        """Homeport's processes read a clock that is ahead by `offset_s` seconds from now on."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(str(offset_s))
        os.replace(fresh, self._offset)

    def fill_disk(self) -> int:
        """Leave no byte on the data directory's file system; how many were taken. Safe to repeat."""
        assert not self.no_disk
        size = 0
        with self._ballast.open("ab") as file:
            block = _BLOCK
            while block:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), block)
                    size += block
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise
                    block = block // 2 if block > _PAGE else 0
        return size

    def free_disk(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """A place for one run, gone afterwards with all that is in it."""
    root = Path(tempfile.mkdtemp(prefix="hp-chaos-"))
    root.chmod(0o711)  # the user of sandboxes passes through it
    disk = root / "disk"
    disk.mkdir(mode=0o711)
    problem = mount(disk, DISK_MB)
    try:
        yield Ground(root, problem)
    finally:
        if not problem:
            unmount(disk)
        shutil.rmtree(root, ignore_errors=True)
