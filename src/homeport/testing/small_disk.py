"""A disk of some megabytes that a test may fill: a tmpfs, mounted by root and unmounted afterwards."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeport.core.space import free_bytes


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """`place` as a file system of its own, of `megabytes`. Skips the test where the user of the tests may not mount."""
    place.mkdir(exist_ok=True)
    if problem := mount(place, megabytes):
        pytest.skip(f"no small disk: {problem}")
    try:
        yield place
    finally:
        unmount(place)


def mount(place: Path, megabytes: int) -> str:
    """Why there is no file system of its own at the directory `place`; empty when there is."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "mounting a tmpfs needs root and the program mount"
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "homeport-small", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"a tmpfs cannot be mounted: {done.stderr.strip()}"


def unmount(place: Path) -> None:
    """Also while somebody still has a file of it open."""
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, spare_bytes: int = 0) -> Path:
    """Take all of the disk at `place` but `spare_bytes`; returns the file that holds it, to be removed."""
    file = place / "filler"
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while (free := free_bytes(place)) > spare_bytes:
            os.write(handle, bytes(min(1024 * 1024, free - spare_bytes)))
    finally:
        os.close(handle)
    return file
