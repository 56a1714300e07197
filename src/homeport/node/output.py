"""A unit's output: two named pipes, read by the node, and the log that it keeps of them. Owned by one unit.

The unit's side holds the pipes open for reading and writing, so a program that writes while the node is away waits
and never dies of it. The log is a row of files of JSON lines named by the offset at which they begin; an offset
therefore stays valid however many old files are dropped. Does not interpret what programs print.
"""

import codecs
import json
import logging
import os
from pathlib import Path
from typing import BinaryIO

from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.units import LogLine

log = logging.getLogger(__name__)

LINE_CHARACTERS = 16 * 1024  # a longer line is cut into several: one line must fit into memory many times over
READ_BYTES = 64 * 1024  # a pipe's capacity: one unit cannot keep the event loop longer than that
PIECES = 8  # a log is kept in at least this many files, so that dropping one loses an eighth
ANSWER_BYTES = 4 * 1024 * 1024  # one answer of `read`; the reader asks again


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

    def write(self, stream: str, lines: list[str]) -> None:
        """Stamp and keep the lines. A full disk loses them, with an entry in the node's own log."""
        now = timestamp(SystemClock().now())
        rows = [json.dumps([now, stream, line], ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines]
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
    if position > 0:
        file.seek(position - 1)
        file.readline()


def _parse(row: bytes, offset: int) -> LogLine:
    moment, stream, text = json.loads(row)
    return LogLine(time=parse_timestamp(moment), stream=stream, text=text, offset=offset)
