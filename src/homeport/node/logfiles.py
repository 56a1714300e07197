"""The files of a unit's log: how they are named, read and dropped. Written by `homeport.node.output`; the
docker driver reads its copies of what containers printed by the same rows.

A log is a row of files of JSON lines `[time, stream, text]`, named by the offset and by the number of the line at which
they begin. The last row of a batch has two more fields, the positions of both pipes' spools.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.units import LogLine

ANSWER_BYTES = 4 * 1024 * 1024  # one answer of `read_log`; the reader asks again
STAMP_STEP = timedelta(microseconds=1)  # the finest that a stamp shows
BLOCK_BYTES = 64 * 1024  # read at once on the way back through a log
BATCH_BYTES = 1024 * 1024  # longer than the rows of any batch

Marks = tuple[int, int]  # positions in the spools of standard output and standard error


def read_log(folder: Path, offset: int, limit: int) -> list[LogLine]:
    """At most `limit` lines of the log in `folder` from `offset` on, or from the oldest kept line when that is
    later; then the first line says what is missing. Empty when there is no log."""
    pieces = pieces_of(folder)
    found: list[LogLine] = []
    if pieces and offset < pieces[0].base:
        found.append(_dropped(folder, pieces))
        offset = pieces[0].base
    budget = ANSWER_BYTES
    for piece in pieces:
        path = folder / piece.name
        if offset >= piece.base + path.stat().st_size:
            continue
        with open(path, "rb") as file:
            seek_line(file, max(offset - piece.base, 0))
            while len(found) < limit and budget > 0 and (row := file.readline()).endswith(b"\n"):
                found.append(parse_row(row, piece.base + file.tell()))
                budget -= len(row)
        if len(found) >= limit or budget <= 0:
            break
    return found


def read_log_before(folder: Path, before: datetime, limit: int) -> list[LogLine]:
    """The newest lines stamped earlier than `before`, at most `limit` of them, oldest first; where older ones were
    dropped the first says so. Empty when there is no log. It reads these lines and little more."""
    found: list[LogLine] = []
    budget = ANSWER_BYTES
    pieces = pieces_of(folder)
    for piece in reversed(pieces):
        with open(folder / piece.name, "rb") as file:
            for row, end in rows_backwards(file, position_of(file, timestamp(before))):
                found.append(parse_row(row, piece.base + end))
                budget -= len(row)
                if len(found) >= limit or budget <= 0:
                    return found[::-1]
    if pieces and pieces[0].base > 0 and (dropped := _dropped(folder, pieces)).time < before:
        found.append(dropped)
    return found[::-1]


def position_of(file: BinaryIO, stamp: str) -> int:
    """Where the first row begins that is stamped `stamp` or later; the end of the file when there is none. Every row
    begins with its stamp, of one length, and stamps grow."""
    wanted = f'["{stamp}'.encode()
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        seek_line(file, middle)
        row = file.readline() if file.tell() < high else b""
        if row and row[: len(wanted)] < wanted:
            low = file.tell()
        else:
            high = middle
    return low


def rows_backwards(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    """The whole rows before the position `end`, which is a row's beginning, last one first, each with its end."""
    unread, rest = end, b""
    while unread > 0:
        size = min(BLOCK_BYTES, unread)
        unread -= size
        file.seek(unread)
        block = file.read(size) + rest
        first = block.find(b"\n") + 1 if unread > 0 else 0  # what is before it belongs to a row that began earlier
        for row in reversed(block[first:].splitlines(keepends=True)):
            yield row, end
            end -= len(row)
        rest = block[:first]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Piece:
    """A file of a log: the offset and the number of the line at which it begins. counted: False for a file of an
    earlier version, which did not count lines."""

    base: int
    line: int
    counted: bool = True

    @property
    def name(self) -> str:
        return f"{self.base:015d}-{self.line:012d}.jsonl" if self.counted else f"{self.base:015d}.jsonl"

    @classmethod
    def from_name(cls, name: str) -> "Piece":
        base, _, line = name.removesuffix(".jsonl").partition("-")
        return cls(base=int(base), line=int(line or 0), counted=bool(line))


def pieces_of(folder: Path) -> list[Piece]:
    """The files of a log, in order."""
    try:
        return sorted(map(Piece.from_name, os.listdir(folder)))
    except FileNotFoundError:
        return []


def drop(folder: Path, count: int) -> int:
    """Remove the first `count` files; returns where the first one of the rest begins."""
    pieces = pieces_of(folder)
    for piece in pieces[:count]:
        (folder / piece.name).unlink()
    return pieces[count].base


def empty(folder: Path) -> None:
    """Remove all lines of a log that is written no more, but for how many there were."""
    pieces = pieces_of(folder)
    if not pieces:
        return
    last = folder / pieces[-1].name
    end = pieces[-1].base + last.stat().st_size
    (folder / Piece(base=end, line=pieces[-1].line + count_lines(last)).name).touch(mode=0o600)
    drop(folder, len([piece for piece in pieces if piece.base < end]))


def _dropped(folder: Path, pieces: list[Piece]) -> LogLine:
    """The line that stands for those before the first file: just earlier than what follows."""
    first = pieces[0]
    for piece in pieces:
        with open(folder / piece.name, "rb") as file:
            if row := file.readline():
                time = parse_row(row, 0).time - STAMP_STEP
                break
    else:
        time = datetime.fromtimestamp(os.stat(folder / first.name).st_mtime, UTC)
    number = f"{first.line} lines" if first.counted else "Lines"
    text = f"[homeport] {number} of output before this were dropped ({first.base} bytes): only the newest are kept"
    return LogLine(time=time, stream="stderr", text=text, offset=first.base)


def tail_of(handle: int) -> tuple[bytes, int]:
    """The last rows of the file, as many as a batch may have, and where they begin."""
    length = os.fstat(handle).st_size
    start = max(0, length - BATCH_BYTES)
    tail = os.pread(handle, length - start, start)
    if start > 0:
        first = tail.find(b"\n") + 1
        return tail[first:], start + first
    return tail, start


def last_row(folder: Path, pieces: list[Piece]) -> bytes:
    """The last row of the last file that has any; empty when there is none."""
    for piece in reversed(pieces):
        with open(folder / piece.name, "rb") as file:
            if rows := tail_of(file.fileno())[0].splitlines(keepends=True):
                return rows[-1]
    return b""


def marks_of(row: bytes) -> Marks | None:
    """The marks in a whole row that ends a batch."""
    try:
        fields = json.loads(row) if row.endswith(b"\n") else []
    except ValueError:
        return None
    return (int(fields[3]), int(fields[4])) if len(fields) == 5 else None


def count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BATCH_BYTES), b""))


def seek_line(file: BinaryIO, position: int) -> None:
    """Go to `position`, or to the next line where that is inside one."""
    file.seek(max(position - 1, 0))
    if position > 0:
        file.readline()


def parse_row(row: bytes, offset: int) -> LogLine:
    moment, stream, text, *_ = json.loads(row)
    return LogLine(time=parse_timestamp(moment), stream=stream, text=text, offset=offset)
