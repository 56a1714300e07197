"""The node's scripts that walk through what programs wrote: nothing that these make of their directories hides files
from the count or from removal."""

import os
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
