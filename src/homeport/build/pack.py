"""Packs a fetched tree as a source archive, as if it had been uploaded. Called by the fetcher, in a thread.

The tree was written by a sandbox and is not trusted. The same files give the same bytes, whichever commit they come
from. A link is stored as the file that it points to, but only inside the tree; one that leads out of it is refused, one
that leads to nothing or to a directory is left out, as the public CLI does it.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from homeport.build.archive import DEPTH, UnpackLimits
from homeport.build.repository import FIELD
from homeport.core.errors import Invalid
from homeport.core.packing import add_entry

_GIT = ".git"  # never part of a source, at any depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """digest: the SHA-256 of the archive's bytes. left_out: the links that are not in it."""

    digest: str
    left_out: tuple[str, ...]


def pack_tree(tree: Path, target: Path, limits: UnpackLimits) -> Packed:
    """Write the files of `tree` to the zip `target`. Raises `Invalid` for a tree that breaks a rule of archives."""
    root = tree.resolve()
    left_out: list[str] = []
    files = size = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for path, name in _files(root, left_out):
            files, size = files + 1, size + path.stat().st_size
            if files > limits.files or size > limits.content_bytes:
                rule = f"may hold {limits.files} files and {limits.content_bytes} bytes at most"
                raise Invalid(FIELD, rule, value=name)
            add_entry(packed, path, name)
    if not files:
        raise Invalid(FIELD, "must hold at least one file")
    with target.open("rb") as archive:
        return Packed(digest=hashlib.file_digest(archive, "sha256").hexdigest(), left_out=tuple(left_out))


def _files(root: Path, left_out: list[str]) -> Iterator[tuple[Path, str]]:
    """Every file below `root` with its name in the archive, in a fixed order."""
    pending = [(root, "")]
    while pending:
        directory, prefix = pending.pop()
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name, reverse=True):
            name = prefix + entry.name
            if entry.name == _GIT:
                continue
            if (readable := os.fsencode(name).decode(errors="backslashreplace")) != name:
                raise Invalid(FIELD, "must name its files in UTF-8", value=readable)
            if name.count("/") > DEPTH:
                raise Invalid(FIELD, f"may nest {DEPTH} directories at most", value=name)
            if entry.is_symlink():
                if (target := _target(Path(entry.path), root, name)) is None:
                    left_out.append(name)
                else:
                    yield target, name
            elif entry.is_dir(follow_symlinks=False):
                pending.append((Path(entry.path), f"{name}/"))
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                yield Path(entry.path), name
            else:
                raise Invalid(FIELD, "must hold ordinary files and directories only", value=name)


def _target(link: Path, root: Path, name: str) -> Path | None:
    """The file in the tree that `link` leads to; None where it leads to nothing or to a directory."""
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # it leads to itself
        return None
    if not target.is_relative_to(root) or _GIT in target.relative_to(root).parts:
        raise Invalid(FIELD, "must not hold a link that leads out of it", value=name)
    return target if target.is_file() else None
