"""The log that the node keeps of a unit's output: lines with stream and time. Owned by one unit.

The rule: of each unit the newest `log_limit_bytes` are kept, an eighth more or less; of all units together `Shelf`
keeps a stated sum, and drops the output of those that ended first. A log is a row of files of JSON lines, named by
the offset and by the number of the line at which they begin; an offset therefore stays valid however many old files
are dropped, and the first line that a reader gets then says how many were. The last row of each batch names the
positions of both pipes' spools (`homeport.node.pipes`): a batch counts when it is whole. Does not interpret what
programs print.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring as _quoted
from pathlib import Path
from typing import BinaryIO

from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.units import LogLine

log = logging.getLogger(__name__)

PIECES = 8  # a log is kept in at least this many files, so that dropping one loses an eighth
ANSWER_BYTES = 4 * 1024 * 1024  # one answer of `read`; the reader asks again
STAMP_STEP = timedelta(microseconds=1)  # the finest that a stamp shows
BLOCK_BYTES = 64 * 1024  # read at once on the way back through a log
BATCH_BYTES = 1024 * 1024  # longer than the rows of any batch

Marks = tuple[int, int]  # positions in the spools of standard output and standard error


class Log:
    """The lines of one unit below `folder`, at most about `limit` bytes of them; the oldest are dropped first.
    `marks`: up to where the pipes' spools are in it."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Raises OSError."""
        self._folder = folder
        self._piece_bytes = max(limit // PIECES, 4096)
        self._limit = max(limit, 2 * self._piece_bytes)
        folder.mkdir(mode=0o700, exist_ok=True)
        pieces = _pieces(folder)
        self._piece = pieces[-1] if pieces else _Piece(base=0, line=0)
        self._first = pieces[0].base if pieces else 0
        self._file = self._open(self._piece)
        self._length, self._lines, self.marks, self._stamped = self._take_up(pieces[:-1])
        self._lost = 0

    @property
    def kept_bytes(self) -> int:
        """How much of the disk it takes."""
        return self._piece.base + self._length - self._first

    def write(self, stream: str, lines: list[str], marks: Marks | None = None) -> bool:
        """Stamp and keep the lines, all or none. A full disk loses them (False); the next line that can be kept then
        says how many."""
        rows = self._rows(stream, lines, marks or self.marks)
        try:
            written = os.write(self._file, rows)
            if written < len(rows):
                raise OSError("the disk is full")
        except OSError as error:
            if not self._lost:
                log.error("output of %s is lost: %s", self._folder.parent.name, error)
            self._lost += len(lines)
            os.ftruncate(self._file, self._length)
            return False
        self._lines += len(lines) + (1 if self._lost else 0)
        self._length, self._lost = self._length + written, 0
        self.marks = marks or self.marks
        if self._length >= self._piece_bytes:
            self._turn()
        return True

    def shrink(self) -> bool:
        """Drop the oldest file, the one that is being written where there is no other. False when nothing is left."""
        if self._first == self._piece.base and (self._length == 0 or not self._begin_piece()):
            return False
        self._first = _drop(self._folder, 1)
        return True

    def close(self) -> None:
        if self._lost:
            self.write("stderr", [])
        os.close(self._file)

    def _rows(self, stream: str, lines: list[str], marks: Marks) -> bytes:
        texts = [(stream, line) for line in lines]
        if self._lost:
            texts.insert(0, ("stderr", f"[homeport] {self._lost} lines of output were lost: the disk was full"))
        stamps = self._stamps(len(texts))
        rows = [f'["{stamp}","{of}",{_quoted(text)}]\n' for stamp, (of, text) in zip(stamps, texts, strict=True)]
        if rows:
            rows[-1] = f"{rows[-1][:-2]},{marks[0]},{marks[1]}]\n"
        return "".join(rows).encode("utf-8", errors="replace")

    def _stamps(self, count: int) -> list[str]:
        """The time now for each of `count` lines, a microsecond apart and later than all before, whatever the clock
        does: clients tell lines with the same text apart by their time, and readers find a time by bisection."""
        moment = max(SystemClock().now(), self._stamped + STAMP_STEP)
        self._stamped = moment + (count - 1) * STAMP_STEP
        found: list[str] = []
        while len(found) < count:  # a second at a time, since formatting a moment is slow
            second, first = timestamp(moment)[: -len("000000Z")], moment.microsecond
            last = min(first + count - len(found), 1_000_000)
            found += [f"{second}{micro:06d}Z" for micro in range(first, last)]
            moment += (last - first) * STAMP_STEP
        return found

    def _turn(self) -> None:
        if not self._begin_piece():
            return
        pieces = _pieces(self._folder)
        end = self._piece.base
        over = [piece for piece in pieces[:-1] if end - piece.base > self._limit - self._piece_bytes]
        self._first = _drop(self._folder, len(over))

    def _begin_piece(self) -> bool:
        """False where no file can be made now: the present one is then written on."""
        fresh = _Piece(base=self._piece.base + self._length, line=self._piece.line + self._lines)
        try:
            handle = self._open(fresh)
        except OSError as error:
            log.warning("the log of %s cannot be turned yet: %s", self._folder.parent.name, error.strerror)
            return False
        os.close(self._file)
        self._file, self._piece, self._length, self._lines = handle, fresh, 0, 0
        return True

    def _open(self, piece: "_Piece") -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._folder / piece.name, flags, 0o600)

    def _take_up(self, earlier: list["_Piece"]) -> tuple[int, int, Marks, datetime]:
        """Cut off a batch that a killed node left unfinished. Returns the length and the number of lines of the file,
        and the marks and the stamp of the last row, which may be in the file before."""
        tail, start = _tail(self._file)
        rows = tail.splitlines(keepends=True)
        while rows and _marks_of(rows[-1]) is None:
            rows.pop()
        if not rows and not self._piece.counted:  # by an earlier version, which marked nothing
            rows = tail[: tail.rfind(b"\n") + 1].splitlines(keepends=True)
        length = start + sum(map(len, rows))
        if length < os.fstat(self._file).st_size:
            os.ftruncate(self._file, length)
        last = rows[-1] if rows else _last_row(self._folder, earlier)
        lines = _count_lines(self._folder / self._piece.name)
        stamped = _parse(last, 0).time if last else datetime.min.replace(tzinfo=UTC)
        return length, lines, _marks_of(last) or (0, 0), stamped


class Shelf:
    """Bounds what the logs of all units take together. `ended`: the folders of logs of ended units, the one that ended
    first first. One per node."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ended: dict[Path, int] = {}
        self._sum = 0

    def add(self, folder: Path) -> None:
        """The log in `folder` is written no more."""
        size = sum(os.stat(folder / piece.name).st_size for piece in _pieces(folder))
        self._sum += size - self._ended.pop(folder, 0)
        self._ended[folder] = size

    def remove(self, folder: Path) -> None:
        self._sum -= self._ended.pop(folder, 0)

    def trim(self, living: Iterable[Log]) -> None:
        """Keep the sum, first at the expense of what ended first, then of the longest log."""
        logs = [*living]
        over = self._sum + sum(one.kept_bytes for one in logs) - self._limit
        for folder in [*self._ended]:
            if over <= 0:
                return
            over -= self._ended[folder]
            self.remove(folder)
            _empty(folder)
        while over > 0 and logs:
            longest = max(logs, key=lambda one: one.kept_bytes)
            before = longest.kept_bytes
            if not longest.shrink():
                return
            over -= before - longest.kept_bytes


def read_log(folder: Path, offset: int, limit: int) -> list[LogLine]:
    """At most `limit` lines of the log in `folder` from `offset` on, or from the oldest kept line when that is
    later; then the first line says what is missing. Empty when there is no log."""
    pieces = _pieces(folder)
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
            _seek_line(file, max(offset - piece.base, 0))
            while len(found) < limit and budget > 0 and (row := file.readline()).endswith(b"\n"):
                found.append(_parse(row, piece.base + file.tell()))
                budget -= len(row)
        if len(found) >= limit or budget <= 0:
            break
    return found


def read_log_before(folder: Path, before: datetime, limit: int) -> list[LogLine]:
    """The newest lines stamped earlier than `before`, at most `limit` of them, oldest first; where older ones were
    dropped the first says so. Empty when there is no log. It reads these lines and little more."""
    found: list[LogLine] = []
    budget = ANSWER_BYTES
    pieces = _pieces(folder)
    for piece in reversed(pieces):
        with open(folder / piece.name, "rb") as file:
            for row, end in _rows_backwards(file, _position_of(file, timestamp(before))):
                found.append(_parse(row, piece.base + end))
                budget -= len(row)
                if len(found) >= limit or budget <= 0:
                    return found[::-1]
    if pieces and pieces[0].base > 0 and (dropped := _dropped(folder, pieces)).time < before:
        found.append(dropped)
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


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Piece:
    """A file of a log: the offset and the number of the line at which it begins. counted: False for a file of an
    earlier version, which did not count lines."""

    base: int
    line: int
    counted: bool = True

    @property
    def name(self) -> str:
        return f"{self.base:015d}-{self.line:012d}.jsonl" if self.counted else f"{self.base:015d}.jsonl"

    @classmethod
    def from_name(cls, name: str) -> "_Piece":
        base, _, line = name.removesuffix(".jsonl").partition("-")
        return cls(base=int(base), line=int(line or 0), counted=bool(line))


def _pieces(folder: Path) -> list[_Piece]:
    """The files of a log, in order."""
    try:
        return sorted(map(_Piece.from_name, os.listdir(folder)))
    except FileNotFoundError:
        return []


def _drop(folder: Path, count: int) -> int:
    """Remove the first `count` files; returns where the first one of the rest begins."""
    pieces = _pieces(folder)
    for piece in pieces[:count]:
        (folder / piece.name).unlink()
    return pieces[count].base


def _empty(folder: Path) -> None:
    """Remove all lines of a log that is written no more, but for how many there were."""
    pieces = _pieces(folder)
    if not pieces:
        return
    last = folder / pieces[-1].name
    end = pieces[-1].base + last.stat().st_size
    (folder / _Piece(base=end, line=pieces[-1].line + _count_lines(last)).name).touch(mode=0o600)
    _drop(folder, len([piece for piece in pieces if piece.base < end]))


def _dropped(folder: Path, pieces: list[_Piece]) -> LogLine:
    """The line that stands for those before the first file: just earlier than what follows."""
    first = pieces[0]
    for piece in pieces:
        with open(folder / piece.name, "rb") as file:
            if row := file.readline():
                time = _parse(row, 0).time - STAMP_STEP
                break
    else:
        time = datetime.fromtimestamp(os.stat(folder / first.name).st_mtime, UTC)
    number = f"{first.line} lines" if first.counted else "Lines"
    text = f"[homeport] {number} of output before this were dropped ({first.base} bytes): only the newest are kept"
    return LogLine(time=time, stream="stderr", text=text, offset=first.base)


def _tail(handle: int) -> tuple[bytes, int]:
    """The last rows of the file, as many as a batch may have, and where they begin."""
    length = os.fstat(handle).st_size
    start = max(0, length - BATCH_BYTES)
    tail = os.pread(handle, length - start, start)
    if start > 0:
        first = tail.find(b"\n") + 1
        return tail[first:], start + first
    return tail, start


def _last_row(folder: Path, pieces: list[_Piece]) -> bytes:
    """The last row of the last file that has any; empty when there is none."""
    for piece in reversed(pieces):
        with open(folder / piece.name, "rb") as file:
            if rows := _tail(file.fileno())[0].splitlines(keepends=True):
                return rows[-1]
    return b""


def _marks_of(row: bytes) -> Marks | None:
    """The marks in a whole row that ends a batch."""
    try:
        fields = json.loads(row) if row.endswith(b"\n") else []
    except ValueError:
        return None
    return (int(fields[3]), int(fields[4])) if len(fields) == 5 else None


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BATCH_BYTES), b""))


def _seek_line(file: BinaryIO, position: int) -> None:
    """Go to `position`, or to the next line where that is inside one."""
    file.seek(max(position - 1, 0))
    if position > 0:
        file.readline()


def _parse(row: bytes, offset: int) -> LogLine:
    moment, stream, text, *_ = json.loads(row)
    return LogLine(time=parse_timestamp(moment), stream=stream, text=text, offset=offset)
