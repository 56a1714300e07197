"""The node's scripts that walk through what programs wrote: nothing that these make of their directories hides files
from the count or from removal."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.node import measure, remove

SIZE = 1_000_000


def _nested(folder: Path, name: str, depth: int) -> None:
    """Deeper than any path reaches, as a program does it."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inside = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inside
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, bytes(SIZE))
    os.close(file)
    os.close(here)


def _deep(folder: Path) -> None:
    _nested(folder, "d", 2500)


def _long(folder: Path) -> None:
    _nested(folder, "d" * 250, 40)


def _plain(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_bytes(bytes(SIZE))


SHAPES = pytest.mark.parametrize("make", [_deep, _long, _plain])


@SHAPES
def test_what_lies_deep_is_counted(tmp_path: Path, make: Callable[[Path], None]) -> None:
    handles = len(os.listdir("/proc/self/fd"))
    try:
        make(tmp_path)
        size, files = measure.written([str(tmp_path)])
        assert size >= SIZE and files >= 3
        assert len(os.listdir("/proc/self/fd")) == handles
    finally:
        remove.empty(str(tmp_path))


@SHAPES
def test_what_lies_deep_is_removed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    remove.empty(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_closed_directories_are_removed_and_what_links_point_to_stays(tmp_path: Path) -> None:
    kept, trash = tmp_path / "kept", tmp_path / "trash"
    kept.mkdir(mode=0o750)
    (kept / "file").write_text("x")
    inner = trash / "one" / "closed" / "inner"
    inner.mkdir(parents=True)
    for place in (trash, trash / "one", inner):
        (place / "link").symlink_to(kept)
    inner.chmod(0)
    inner.parent.chmod(0)
    remove.empty(str(trash))
    assert os.listdir(trash) == [] and os.listdir(kept) == ["file"]
    assert kept.stat().st_mode & 0o777 == 0o750


def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_text("x")
    unlink = os.unlink

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == "b":
            raise PermissionError(1, "immutable")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        remove.empty(str(tmp_path))
    assert os.listdir(tmp_path) == ["b"]


MAPPED = """
import mmap, os
for number in range(3):
    handle = os.open(f"{place}/m", os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, SIZE)
    base = mmap.mmap(handle, SIZE)
    base[:] = os.urandom(SIZE)
    held.append(base)
    os.unlink(f"{place}/m")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try: os.close(int(name))
            except OSError: pass
"""
BY_A_THREAD = """
import ctypes, os, threading
def work():
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES: handles of its own
    for number in range(3):
        handle = os.open(f"{place}/m", os.O_RDWR | os.O_CREAT)
        os.write(handle, os.urandom(SIZE))
        os.unlink(f"{place}/m")
    ready.set()
    threading.Event().wait()
ready = threading.Event()
threading.Thread(target=work, daemon=True).start()
ready.wait()
"""


@pytest.mark.parametrize("script", [BY_A_THREAD, MAPPED], ids=["a thread's", "mapped"])
def test_removed_files_count_whichever_way_they_are_held(tmp_path: Path, script: str) -> None:
    if script is MAPPED and os.geteuid() != 0:
        pytest.skip("what is mapped is shown to root only")
    head = f"place, SIZE, held = {str(tmp_path)!r}, {SIZE}, []\n"
    command = [sys.executable, "-c", head + script + "print('up', flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        size, looked = measure.removed([process.pid], (f"{tmp_path}/",))
        process.kill()
    assert 3 * SIZE <= size < 4 * SIZE and 3 <= looked < 200
