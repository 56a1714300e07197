"""A unit's output: two named pipes, read by the node, and the log that it keeps of them. Owned by one unit.

The unit's side holds the pipes open for reading and writing, so a program that writes while the node is away waits
and never dies of it. The log is a row of files of JSON lines named by the offset at which they begin; an offset
therefore stays valid however many old files are dropped. Does not interpret what programs print.
"""

import codecs
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.units import LogLine

log = logging.getLogger(__name__)

LINE_CHARACTERS = 16 * 1024  # a longer line is cut into several: one line must fit into memory many times over
READ_BYTES = 64 * 1024  # a pipe's capacity: one unit cannot keep the event loop longer than that
PIECES = 8  # a log is kept in at least this many files, so that dropping one loses an eighth
ANSWER_BYTES = 4 * 1024 * 1024  # one answer of `read`; the reader asks again
STAMP_STEP = timedelta(microseconds=1)  # the finest that a stamp shows
BLOCK_BYTES = 64 * 1024  # read at once on the way back through a log


class Pipe:
    """The node's end of one stream. `read` is called when it is readable and once more when the unit has ended."""

    def __init__(self, path: Path, stream: str) -> None:
        self.stream = stream
        self.handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def read(self) -> tuple[list[str], bool]:
        """The whole lines that came, and whether more may be waiting."""
        try:
            data = os.read(self.handle, READ_BYTES)
        except BlockingIOError:
            return [], False
        if not data:
            return [], False
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        pieces = [piece for line in lines for piece in _cut(line)]
        while len(self._rest) > LINE_CHARACTERS:
            pieces.append(self._rest[:LINE_CHARACTERS])
            self._rest = self._rest[LINE_CHARACTERS:]
        return pieces, True

    def close(self) -> list[str]:
        """Close and return what stood behind the last line end."""
        os.close(self.handle)
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return _cut(rest) if rest else []


class Log:
    """The lines of one unit below `folder`, at most about `limit` bytes of them; the oldest are dropped first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._piece_bytes = max(limit // PIECES, 4096)
        self._limit = max(limit, 2 * self._piece_bytes)
        folder.mkdir(mode=0o700, exist_ok=True)
        bases = _bases(folder)
        self._base = bases[-1] if bases else 0
        self._file = self._open()
        self._length = _mend(self._file)
        self._stamped = datetime.min.replace(tzinfo=UTC)

    def write(self, stream: str, lines: list[str]) -> None:
        """Stamp and keep the lines. A full disk loses them, with an entry in the node's own log."""
        rows = [
            json.dumps([stamp, stream, line], ensure_ascii=False, separators=(",", ":")) + "\n"
            for stamp, line in zip(self._stamps(len(lines)), lines, strict=True)
        ]
        data = "".join(rows).encode("utf-8", errors="replace")
        try:
            written = os.write(self._file, data) if data else 0
        except OSError as error:
            log.error("output of %s is lost: %s", self._folder.parent.name, error)
            return
        self._length += written
        if written < len(data):
            log.error("output of %s is lost: the disk is full", self._folder.parent.name)
            self._length = _mend(self._file)
        if self._length >= self._piece_bytes:
            self._turn()

    def close(self) -> None:
        os.close(self._file)

    def _stamps(self, count: int) -> list[str]:
        """The time now for each of `count` lines, a microsecond apart and later than all before: clients tell lines
        with the same text apart by their time, and readers find a time by bisection."""
        first = max(SystemClock().now(), self._stamped + STAMP_STEP)
        self._stamped = first + (count - 1) * STAMP_STEP
        return [timestamp(first + number * STAMP_STEP) for number in range(count)]

    def _turn(self) -> None:
        os.close(self._file)
        self._base += self._length
        self._file, self._length = self._open(), 0
        bases = _bases(self._folder)
        while len(bases) > 1 and self._base - bases[0] > self._limit - self._piece_bytes:
            (self._folder / _name(bases.pop(0))).unlink()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._folder / _name(self._base), flags, 0o600)


def read_log(folder: Path, offset: int, limit: int) -> list[LogLine]:
    """At most `limit` lines of the log in `folder` from `offset` on, or from the oldest kept line when that is
    later. Empty when there is no log."""
    found: list[LogLine] = []
    budget = ANSWER_BYTES
    for base in _bases(folder):
        path = folder / _name(base)
        if offset >= base + path.stat().st_size:
            continue
        with open(path, "rb") as file:
            _seek_line(file, max(offset - base, 0))
            while len(found) < limit and budget > 0 and (row := file.readline()).endswith(b"\n"):
                found.append(_parse(row, base + file.tell()))
                budget -= len(row)
        if len(found) >= limit or budget <= 0:
            break
    return found


def read_log_before(folder: Path, before: datetime, limit: int) -> list[LogLine]:
    """The newest lines stamped earlier than `before`, at most `limit` of them, oldest first. Empty when there is no
    log. It reads these lines and little more."""
    found: list[LogLine] = []
    budget = ANSWER_BYTES
    for base in reversed(_bases(folder)):
        with open(folder / _name(base), "rb") as file:
            for row, end in _rows_backwards(file, _position_of(file, timestamp(before))):
                found.append(_parse(row, base + end))
                budget -= len(row)
                if len(found) >= limit or budget <= 0:
                    return found[::-1]
    return found[::-1]


def _position_of(file: BinaryIO, stamp: str) -> int:
    """Where the first row begins that is stamped `stamp` or later; the end of the file when there is none. Every row
    begins with its stamp, of one length, and stamps grow."""
    wanted = f'["{stamp}'.encode()
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        _seek_line(file, middle)
        row = file.readline() if file.tell() < high else b""
        if row and row[: len(wanted)] < wanted:
            low = file.tell()
        else:
            high = middle
    return low


def _rows_backwards(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
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


def _bases(folder: Path) -> list[int]:
    """The offsets at which the files begin, in order."""
    if not folder.exists():
        return []
    return sorted(int(name.removesuffix(".jsonl")) for name in os.listdir(folder))


def _name(base: int) -> str:
    return f"{base:015d}.jsonl"


def _cut(line: str) -> list[str]:
    line = line.removesuffix("\r")
    return [line[at : at + LINE_CHARACTERS] for at in range(0, len(line), LINE_CHARACTERS)] or [""]


def _mend(handle: int) -> int:
    """Cut off half a line, left by a node that was killed while it wrote; return the length."""
    length = os.fstat(handle).st_size
    tail = os.pread(handle, 1024 * 1024, max(0, length - 1024 * 1024))  # longer than any row
    whole = length - len(tail) + tail.rfind(b"\n") + 1
    if whole < length:
        os.ftruncate(handle, whole)
    return whole


def _seek_line(file: BinaryIO, position: int) -> None:
    """Go to `position`, or to the next line where that is inside one."""
    file.seek(max(position - 1, 0))
    if position > 0:
        file.readline()


def _parse(row: bytes, offset: int) -> LogLine:
    moment, stream, text = json.loads(row)
    return LogLine(time=parse_timestamp(moment), stream=stream, text=text, offset=offset)
