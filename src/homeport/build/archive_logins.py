"""Takes the logins of registries out of an uploaded zip before it is kept: archives are kept in plain.

The bytes of `.docker/config.json` are overwritten with zeros where they stand, which costs nothing however large the
archive is; so are its checksums, by which a short password could be guessed. `homeport.build.archive` never unpacks
that entry.
"""

import zipfile
from pathlib import Path
from typing import IO

from homeport.build.archive import LOGINS, entries_at, entry_content, opened
from homeport.core.errors import Invalid
from homeport.core.logins import CONFIG_BYTES

NAME = str(LOGINS)
_HEADER_BYTES = 30  # before an entry: this, its name, and what else is said of it
_LISTED_BYTES = 46  # the same in the list of entries
_SUM_BYTES = 4
_SUM_FOLLOWS = 0x8  # the checksum stands behind the content, after a mark or not
_SUM_MARK = b"PK\x07\x08"


def take_logins(archive: Path) -> str | None:
    """The text of `.docker/config.json`, which is gone from the archive then; None where there is none. Of several the
    last counts. The archive has passed `check_archive`. Raises `Invalid`."""
    with opened(archive) as source:
        entries = entries_at(source, LOGINS)
        contents = [_read(source, entry) for entry in entries.values()]
        end = source.start_dir
    if not entries:
        return None
    with archive.open("r+b") as file:
        for entry in entries.values():
            _overwrite(file, entry, end)
        _forget_sums(file, {*entries}, end)
    try:
        return contents[-1].decode()
    except UnicodeDecodeError:
        raise Invalid(NAME, "must be UTF-8 text") from None


def _read(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    content = b""
    for chunk in entry_content(source, entry):
        content += chunk
        if len(content) > CONFIG_BYTES:
            raise Invalid(NAME, f"must have at most {CONFIG_BYTES} bytes")
    return content


def _overwrite(file: IO[bytes], entry: zipfile.ZipInfo, end: int) -> None:
    """`end`: where the list of entries begins, which no entry reaches whatever it says of itself."""
    file.seek(entry.header_offset)
    header = file.read(_HEADER_BYTES)
    first = entry.header_offset + _HEADER_BYTES + _number(header[26:28]) + _number(header[28:30])
    _zero(file, entry.header_offset + 14, _SUM_BYTES)
    last = min(first + entry.compress_size, end)
    _zero(file, first, last - first)
    if entry.flag_bits & _SUM_FOLLOWS:
        file.seek(last)
        at = last + (len(_SUM_MARK) if file.read(len(_SUM_MARK)) == _SUM_MARK else 0)
        _zero(file, at, min(_SUM_BYTES, end - at))


def _forget_sums(file: IO[bytes], numbers: set[int], begin: int) -> None:
    """In the list of entries, which begins at `begin`, of those of these numbers."""
    at = begin
    for number in range(max(numbers) + 1):
        file.seek(at)
        listed = file.read(_LISTED_BYTES)
        if number in numbers:
            _zero(file, at + 16, _SUM_BYTES)
        at += _LISTED_BYTES + sum(_number(listed[place : place + 2]) for place in (28, 30, 32))


def _zero(file: IO[bytes], at: int, size: int) -> None:
    file.seek(at)
    file.write(bytes(max(size, 0)))


def _number(little: bytes) -> int:
    return int.from_bytes(little, "little")
