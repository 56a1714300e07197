"""A folder as the zip that is uploaded, with the contract's ignore rules (public CLI), and with `.env.build`.

Called by `deploy`. Identical sources give identical bytes: entries are sorted and their times fixed. Links are stored
as the files they point to, but only inside the folder: nothing from outside it is ever packed.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from homeport.core.errors import Invalid
from homeport.core.limits import MIB, UNPACKED_FILES_MOST, UNPACKED_MB_MOST, UPLOAD_MB_MOST
from homeport.core.packing import DEV_MARK, add_entry

IGNORE_FILE = ".blaxelignore"
BUILD_ENV = ".env.build"  # variables of the build: packed whatever the rules say, as the public CLI does
DEFAULT_IGNORES = (
    ".blaxel",
    BUILD_ENV,
    ".docker",
    ".git",
    "dist",
    ".venv",
    "venv",
    "node_modules",
    ".env",
    ".next",
    "__pycache__",
)
DOCKER_IGNORE = ".dockerignore"  # which the contract's rule for `.docker` would leave out; engines need it
_IN_MEMORY = 8 * 1024 * 1024  # most sources fit; larger ones go through a temporary file


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A packed folder: `file` stands at its beginning, `size` in bytes, `digest` the SHA-256 of the bytes. names: its
    files. ignored: what the rules leave out. skipped: links that were left out, with the reason."""

    file: IO[bytes]
    size: int
    digest: str
    names: tuple[str, ...]
    ignored: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def files(self) -> int:
        return len(self.names)

    def close(self) -> None:
        self.file.close()


def pack(folder: Path, *, mark: bool = False) -> Archive:
    """Pack `folder`; `mark`: as a source of `homeport dev`. Raises `Invalid` when it is not a folder, is empty, or is
    larger than any upload may be. What this installation takes is the server's to say."""
    if not folder.is_dir():
        raise Invalid("directory", "must be a folder", value=str(folder))
    # Closed by the caller, who uploads it; here only when there is nothing to give.
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    try:
        return _packed(folder, folder.resolve(), spool, DEV_MARK if mark else None)
    except BaseException:
        spool.close()
        raise


def is_ignored(name: str, ignores: tuple[str, ...]) -> bool:
    """Whether the contract leaves out `name`, a path from the root: an ignored word begins it, or is one of its
    components. So `.git` also leaves out `.github`; that is the rule of the public command line."""
    parts = name.split("/")
    return any(name.startswith(word) or word in parts for word in ignores)


def sources(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of `folder` that are packed, by their names; what the rules leave out is not looked into."""
    root = folder.resolve()
    for path, name in _entries(root, root, _ignores(root), _LeftOut()):
        if not name.endswith("/"):
            yield path, name


def _packed(folder: Path, root: Path, spool: "tempfile.SpooledTemporaryFile[bytes]", mark: str | None) -> Archive:
    ignores = _ignores(root)
    left_out = _LeftOut()
    names: list[str] = []
    total = 0
    with zipfile.ZipFile(spool, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for path, name in _entries(root, root, ignores, left_out):
            if not name.endswith("/"):
                names.append(name)
                total += path.stat().st_size
            if len(names) > UNPACKED_FILES_MOST or total > UNPACKED_MB_MOST * MIB:
                raise _too_large(folder, f"more than {UNPACKED_FILES_MOST} files or {UNPACKED_MB_MOST} MB")
            add_entry(packed, path, name)
        build_env = root / BUILD_ENV
        if names and build_env.is_file() and not build_env.is_symlink():
            names.append(BUILD_ENV)
            add_entry(packed, build_env, BUILD_ENV)
        if mark is not None:
            packed.writestr(zipfile.ZipInfo(mark), b"")
    if not names:
        raise Invalid("directory", "holds no file to deploy", value=str(folder))
    size = spool.tell()
    if size > UPLOAD_MB_MOST * MIB:
        raise _too_large(folder, f"more than {UPLOAD_MB_MOST} MB packed")
    spool.seek(0)
    digest = hashlib.file_digest(spool, "sha256").hexdigest()
    spool.seek(0)
    return Archive(
        file=spool,
        size=size,
        digest=digest,
        names=tuple(names),
        ignored=tuple(left_out.ignored),
        skipped=tuple(left_out.skipped),
    )


@dataclass(slots=True)
class _LeftOut:
    """What the walk passed by."""

    ignored: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def _ignores(root: Path) -> tuple[str, ...]:
    try:
        lines = (root / IGNORE_FILE).read_text().splitlines()
    except FileNotFoundError:
        return DEFAULT_IGNORES
    words = (line.strip().strip("/").removeprefix("./") for line in lines)
    return (BUILD_ENV, *(word for word in words if word and not word.startswith("#")))


def _entries(directory: Path, root: Path, ignores: tuple[str, ...], left_out: _LeftOut) -> Iterator[tuple[Path, str]]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if name == BUILD_ENV:
            continue
        if is_ignored(name, ignores) and (name != DOCKER_IGNORE or name in ignores):
            left_out.ignored.append(f"{name}/" if entry.is_dir(follow_symlinks=False) else name)
            continue
        if entry.is_symlink() and (reason := _refusal(path, root, ignores)):
            left_out.skipped.append(f"{name}: {reason}")
        elif entry.is_dir(follow_symlinks=False):
            yield path, f"{name}/"
            yield from _entries(path, root, ignores, left_out)
        elif entry.is_file():
            yield path, name


def _refusal(link: Path, root: Path, ignores: tuple[str, ...]) -> str:
    """Why the link is left out; empty for a link to a file in the folder that is packed too."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link to nothing"
    if not target.is_relative_to(root):
        return "a link out of the folder"
    if target.is_dir():
        return "a link to a folder"
    return "a link to an ignored file" if is_ignored(target.relative_to(root).as_posix(), ignores) else ""


def _too_large(folder: Path, what: str) -> Invalid:
    hint = f"List what is not needed in {IGNORE_FILE}."
    return Invalid("directory", f"holds {what}, the most that can be deployed", value=str(folder), hint=hint)
