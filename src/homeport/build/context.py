"""The context of an image's build: the unpacked source, without what `.dockerignore` names, as the tar that the engine
reads. Called in a thread.

The Dockerfile goes along twice: as it is, so that COPY finds what people wrote, and as the engine is to run it, under a
name that the engine takes out of the context by itself.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from homeport.build import dockerignore
from homeport.build.dockerfile import FILE_BYTES
from homeport.build.dockerfile import NAME as DOCKERFILE
from homeport.build.dockerignore import Ignore, read_ignore
from homeport.core.errors import Invalid

RUN = ".dockerfile.homeport"  # the Dockerfile as it is run
_TIME = 1577836800  # of every file, 2020-01-01: what packs files again may refuse earlier years


def read_small(app: Path, name: str) -> str | None:
    """The text of a file of the source that people write; None where there is none. Raises `Invalid`."""
    path = app / name
    if not path.is_file():
        return None
    if path.stat().st_size > FILE_BYTES:
        raise Invalid(name, f"may have {FILE_BYTES} bytes at most", value=path.stat().st_size)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise Invalid(name, "must be UTF-8 text") from exc


def pack_context(app: Path, target: Path, dockerfile: str) -> int:
    """Write the tar; returns how many files of the source are in it. `dockerfile` is what the engine runs."""
    written = read_small(app, dockerignore.NAME)
    ignore = read_ignore(written or "")
    # The engine takes both out when they are named here; a context without this file gets none.
    hidden = [RUN] if written is not None else [RUN, dockerignore.NAME]
    count = 0
    with tarfile.open(target, "w") as tar:
        for path, name in _entries(app, "", ignore):
            if name == dockerignore.NAME:
                continue
            entry = tar.gettarinfo(path, name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = _TIME
            if entry.isreg():
                count += 1
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
        _add(tar, dockerignore.NAME, "\n".join([*(written or "").splitlines(), *hidden]) + "\n")
        _add(tar, RUN, dockerfile)
    return count


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o644, _TIME
    tar.addfile(entry, io.BytesIO(content))


def _entries(
    directory: Path, prefix: str, ignore: Ignore, above: frozenset[int] = frozenset()
) -> Iterator[tuple[Path, str]]:
    """Directories and files in a fixed order. A directory that is left out is searched where a rule may take back what
    is in it. above: the rules that fit the directory."""
    for entry in sorted(os.scandir(directory), key=lambda one: one.name):
        name = prefix + entry.name
        fitting = ignore.fitting(name, above)
        out = ignore.excludes(fitting) and name != DOCKERFILE
        if entry.is_dir(follow_symlinks=False):
            searched = ignore.takes_back or not out
            inside = _entries(Path(entry.path), f"{name}/", ignore, fitting) if searched else iter(())
            first = next(inside, None)
            if not out or first is not None:
                yield Path(entry.path), name
            if first is not None:
                yield first
            yield from inside
        elif not out:
            yield Path(entry.path), name
