"""Unpacks an uploaded zip into a fresh directory. Called by the builder, in a thread.

The archive comes from a stranger, so nothing of it is trusted: every refusal is `Invalid("archive", rule, value=entry)`
and leaves a partly filled directory, which the caller removes. Symbolic links are refused rather than followed or
checked: the clients store the file that a link points at, and without links no entry can reach outside by way of an
earlier one. Only stored and deflated entries are read, because Python bounds the memory of no other method. It does
not decide what the files mean.
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from homeport.configuration import Limits
from homeport.core.errors import Invalid
from homeport.core.limits import MIB, UNPACKED_BYTES, UNPACKED_FILES
from homeport.core.private import sync_folder

CHUNK_BYTES = 1024 * 1024
RATIO = (
    100  # source code shrinks to a tenth; what shrinks to a hundredth is data that is not worth uploading, or a bomb
)
RATIO_FREE_BYTES = 64 * 1024 * 1024  # below this much content the ratio does not matter
DIRECTORY_BYTES = 16 * 1024 * 1024  # of the list of entries, which zipfile reads whole: 100 000 entries of 160 bytes
NAME_BYTES = 255  # one segment of a path, as Linux file systems have it
PATH_BYTES = 2048  # a whole path below the bundle's directory, half of what Linux allows
DEPTH = 64  # directories in one another; what walks a tree calls itself for each

LOGINS = PurePosixPath(".docker/config.json")  # never unpacked; see `homeport.build.archive_logins`

_FIELD = "archive"
_DRIVE = re.compile(r"[A-Za-z]:")
_END = b"PK\x05\x06"
_END_BYTES = 22
_LOCATOR = b"PK\x06\x07"
_LOCATOR_BYTES = 20
_END64_BYTES = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """The bounds of one archive: bytes and number of files after unpacking."""

    content_bytes: int = UNPACKED_BYTES
    files: int = UNPACKED_FILES

    @classmethod
    def of(cls, limits: Limits) -> "UnpackLimits":
        """What the operator allows."""
        return cls(content_bytes=limits.unpacked_mb * MIB, files=limits.unpacked_files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came out: number of files and their bytes."""

    files: int
    content_bytes: int


def check_archive(archive: Path, limits: UnpackLimits) -> None:
    """Refuse at once, by its list of entries, what `unpack` would refuse later; only what an entry holds is not looked
    at. Raises `Invalid`."""
    _check_directory_size(archive)
    with opened(archive) as source:
        files, _ = _select(source, limits)
    stated = 0
    for entry in files.values():
        stated += entry.file_size
        if stated > limits.content_bytes:
            raise _too_much(limits.content_bytes, entry)
        if stated > _ratio_limit(archive):
            raise _bomb(entry)


def holds(archive: Path, name: str) -> bool:
    """Whether a checked archive has a file of this path."""
    with opened(archive) as source:
        return bool(entries_at(source, PurePosixPath(name)))


def keep_archive(part: Path, sources: Path, digest: str) -> None:
    """Move the archive `part` to its place among the `sources`, durable before any row names it."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(sources / f"{digest}.zip")
    sync_folder(sources)


def unpack(archive: Path, target: Path, limits: UnpackLimits | None = None) -> Unpacked:
    """Unpack the zip `archive` into the empty or absent directory `target`.

    Of entries with the same path the later wins, as the public CLI needs it. Files come out as 0644, or 0755 where
    the entry may be executed, directories as 0755; owners, set-id bits and times are dropped. Raises `Invalid` for an
    archive that breaks a rule and OSError where the disk does.
    """
    limits = limits or UnpackLimits()
    target.mkdir(parents=True, exist_ok=True, mode=0o755)
    target.chmod(0o755)
    _check_directory_size(archive)
    with opened(archive) as source:
        files, directories = _select(source, limits)
        files.pop(LOGINS, None)
        _make_directories(target, directories)
        writer = _Writer(source, limits.content_bytes, _ratio_limit(archive))
        for path, entry in files.items():
            writer.write(entry, target / path)
    return Unpacked(files=len(files), content_bytes=writer.written)


def entries_at(source: zipfile.ZipFile, path: PurePosixPath) -> dict[int, zipfile.ZipInfo]:
    """The files at `path` of an archive that has passed `check_archive`, by their numbers in its list of entries."""
    listed = enumerate(source.infolist())
    return {number: one for number, one in listed if not one.is_dir() and PurePosixPath(one.filename) == path}


def entry_content(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The entry's content; errors of the archive become `Invalid`, errors of the disk do not pass through here."""
    try:
        with source.open(entry) as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError) as exc:
        raise Invalid(_FIELD, "must not be damaged", value=entry.filename, detail=str(exc)) from exc


def opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, struct.error, UnicodeDecodeError, NotImplementedError, ValueError) as exc:
        raise Invalid(_FIELD, "must be a readable zip archive", detail=str(exc)) from exc


def _check_directory_size(archive: Path) -> None:
    """Refuse a list of entries too long to read at once. Finds the end record in the order in which zipfile does."""
    with archive.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - _END_BYTES - 0xFFFF - _LOCATOR_BYTES))
        tail = file.read()
        at = len(tail) - _END_BYTES
        if at < 0 or not (tail[at:].startswith(_END) and tail.endswith(b"\0\0")):
            at = tail.rfind(_END)
        if at < 0 or len(tail) - at < _END_BYTES:
            raise Invalid(_FIELD, "must be a readable zip archive")
        listed = struct.unpack_from("<L", tail, at + 12)[0]
        locator = tail[max(0, at - _LOCATOR_BYTES) : at]
        if locator.startswith(_LOCATOR):
            listed = max(listed % 0xFFFFFFFF, _size_in_zip64(file, locator, start + at))
    if listed > DIRECTORY_BYTES:
        raise Invalid(_FIELD, f"may list its entries in {DIRECTORY_BYTES} bytes at most", value=listed)


def _size_in_zip64(file: IO[bytes], locator: bytes, end: int) -> int:
    """The largest size that a zip64 end record states, wherever a version of zipfile may look for that record: where
    the locator points, or right before the locator. `end` is the position of the ordinary end record."""
    sizes = [0]
    for position in (struct.unpack_from("<Q", locator, 8)[0], end - _LOCATOR_BYTES - _END64_BYTES):
        if 0 <= position <= end - _END64_BYTES:
            file.seek(position)
            sizes.append(struct.unpack_from("<Q", file.read(_END64_BYTES), 40)[0])
    return int(max(sizes))


def _select(source: zipfile.ZipFile, limits: UnpackLimits) -> tuple[dict[PurePosixPath, zipfile.ZipInfo], set[Path]]:
    """The entry to write for each path, and every directory, explicit or implied; checks all names before any write."""
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    directories: set[PurePosixPath] = set()
    for entry in source.infolist():
        _check_entry(entry)
        path = _checked_path(entry)
        if entry.is_dir():
            directories.update((path, *path.parents))
        else:
            files[path] = entry
            directories.update(path.parents)
        if max(len(files), len(directories)) > limits.files:
            raise Invalid(
                _FIELD, f"may hold {limits.files} files at most, and as many directories", value=entry.filename
            )
    if not files:
        raise Invalid(_FIELD, "must hold at least one file")
    if both := files.keys() & directories:
        raise Invalid(_FIELD, "must not hold a file and a directory of the same name", value=str(min(both)))
    return files, {Path(directory) for directory in directories}


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if entry.header_offset < 0:
        raise Invalid(_FIELD, "must not be damaged", value=entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if stat.S_ISLNK(kind):
        raise Invalid(_FIELD, "must not hold symbolic links; store the file itself", value=entry.filename)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Invalid(_FIELD, "must hold ordinary files and directories only", value=entry.filename)
    if entry.flag_bits & 0x1:
        raise Invalid(_FIELD, "must not be encrypted", value=entry.filename)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Invalid(_FIELD, "must use the compression methods store and deflate only", value=entry.filename)


def _checked_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    name = entry.filename
    if "\\" in entry.orig_filename:
        raise Invalid(_FIELD, "must separate the parts of a path with /, not with a backslash", value=name)
    if "\0" in entry.orig_filename:
        raise Invalid(_FIELD, "must not hold a zero byte in a name", value=name)
    if name.startswith("/") or _DRIVE.match(name):
        raise Invalid(_FIELD, "must hold relative paths only", value=name)
    if ".." in name.split("/"):
        raise Invalid(_FIELD, "must not hold '..' in a path", value=name)
    path = PurePosixPath(name)
    if not path.parts and not entry.is_dir():
        raise Invalid(_FIELD, "must name every file", value=name)
    if len(path.parts) > DEPTH:
        raise Invalid(_FIELD, f"may nest {DEPTH} directories at most", value=name)
    encoded = [len(os.fsencode(part)) for part in path.parts]
    if any(length > NAME_BYTES for length in encoded) or sum(encoded) + len(encoded) > PATH_BYTES:
        raise Invalid(_FIELD, f"may hold names of {NAME_BYTES} and paths of {PATH_BYTES} bytes at most", value=name)
    return path


def _ratio_limit(archive: Path) -> int:
    return max(RATIO_FREE_BYTES, RATIO * archive.stat().st_size)


def _too_much(limit: int, entry: zipfile.ZipInfo) -> Invalid:
    return Invalid(_FIELD, f"may unpack to {limit} bytes at most", value=entry.filename)


def _bomb(entry: zipfile.ZipInfo) -> Invalid:
    return Invalid(_FIELD, f"may unpack to {RATIO} times its own size at most", value=entry.filename)


def _make_directories(target: Path, directories: set[Path]) -> None:
    for directory in sorted(directories):  # parents sort before what they hold
        made = target / directory
        made.mkdir(exist_ok=True)
        made.chmod(0o755)


class _Writer:
    """Writes entries and counts what really comes out, whatever the archive says of itself."""

    def __init__(self, source: zipfile.ZipFile, limit_bytes: int, ratio_limit_bytes: int) -> None:
        self._source = source
        self._limit = limit_bytes
        self._ratio_limit = ratio_limit_bytes
        self.written = 0

    def write(self, entry: zipfile.ZipInfo, path: Path) -> None:
        executable = (entry.external_attr >> 16) & 0o111
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "wb") as file:
            for chunk in entry_content(self._source, entry):
                self._count(len(chunk), entry)
                file.write(chunk)
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)

    def _count(self, size: int, entry: zipfile.ZipInfo) -> None:
        self.written += size
        if self.written > self._limit:
            raise _too_much(self._limit, entry)
        if self.written > self._ratio_limit:
            raise _bomb(entry)
