"""The log that the node keeps of a unit's output: lines with stream and time. Owned by one unit.

The rule: of each unit the newest `log_limit_bytes` are kept, an eighth more or less; of all units together `Shelf`
keeps a stated sum, and drops the output of those that ended first. Files are named by the offset at which they begin
(`homeport.node.logfiles`); an offset therefore stays valid however many old files are dropped, and the first line that
a reader gets then says how many were. A batch of lines counts when it is whole, with its marks: up to where the pipes'
spools (`homeport.node.pipes`) are in the log. Does not interpret what programs print.
"""

import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from json.encoder import encode_basestring as _quoted
from pathlib import Path

from homeport.core.clock import SystemClock, timestamp
from homeport.node.logfiles import (
    STAMP_STEP,
    Marks,
    Piece,
    count_lines,
    drop,
    empty,
    last_row,
    marks_of,
    parse_row,
    pieces_of,
    tail_of,
)

log = logging.getLogger(__name__)

PIECES = 8  # a log is kept in at least this many files, so that dropping one loses an eighth


class Log:
    """The lines of one unit below `folder`, at most about `limit` bytes of them; the oldest are dropped first.
    `marks`: up to where the pipes' spools are in it."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Raises OSError."""
        self._folder = folder
        self._piece_bytes = max(limit // PIECES, 4096)
        self._limit = max(limit, 2 * self._piece_bytes)
        folder.mkdir(mode=0o700, exist_ok=True)
        pieces = pieces_of(folder)
        self._piece = pieces[-1] if pieces else Piece(base=0, line=0)
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
        self._first = drop(self._folder, 1)
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
        pieces = pieces_of(self._folder)
        end = self._piece.base
        over = [piece for piece in pieces[:-1] if end - piece.base > self._limit - self._piece_bytes]
        self._first = drop(self._folder, len(over))

    def _begin_piece(self) -> bool:
        """False where no file can be made now: the present one is then written on."""
        fresh = Piece(base=self._piece.base + self._length, line=self._piece.line + self._lines)
        try:
            handle = self._open(fresh)
        except OSError as error:
            log.warning("the log of %s cannot be turned yet: %s", self._folder.parent.name, error.strerror)
            return False
        os.close(self._file)
        self._file, self._piece, self._length, self._lines = handle, fresh, 0, 0
        return True

    def _open(self, piece: "Piece") -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._folder / piece.name, flags, 0o600)

    def _take_up(self, earlier: list["Piece"]) -> tuple[int, int, Marks, datetime]:
        """Cut off a batch that a killed node left unfinished. Returns the length and the number of lines of the file,
        and the marks and the stamp of the last row, which may be in the file before."""
        tail, start = tail_of(self._file)
        rows = tail.splitlines(keepends=True)
        while rows and marks_of(rows[-1]) is None:
            rows.pop()
        if not rows and not self._piece.counted:  # by an earlier version, which marked nothing
            rows = tail[: tail.rfind(b"\n") + 1].splitlines(keepends=True)
        length = start + sum(map(len, rows))
        if length < os.fstat(self._file).st_size:
            os.ftruncate(self._file, length)
        last = rows[-1] if rows else last_row(self._folder, earlier)
        lines = count_lines(self._folder / self._piece.name)
        stamped = parse_row(last, 0).time if last else datetime.min.replace(tzinfo=UTC)
        return length, lines, marks_of(last) or (0, 0), stamped


class Shelf:
    """Bounds what the logs of all units take together. `ended`: the folders of logs of ended units, the one that ended
    first first. One per node."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ended: dict[Path, int] = {}
        self._sum = 0

    def add(self, folder: Path) -> None:
        """The log in `folder` is written no more."""
        size = sum(os.stat(folder / piece.name).st_size for piece in pieces_of(folder))
        self._sum += size - self._ended.pop(folder, 0)
        self._ended[folder] = size

    def remove(self, folder: Path) -> None:
        self._sum -= self._ended.pop(folder, 0)

    def trim(self, living: Iterable[Log]) -> None:
        """Keep the sum, first at the expense of what ended first, then of the longest log."""
        logs = [*living]
        over = self._sum + sum(one.kept_bytes for one in logs) - self._limit
        while over > 0 and self._ended:
            folder = next(iter(self._ended))
            over -= self._ended[folder]
            self.remove(folder)
            empty(folder)
        while over > 0 and logs:
            longest = max(logs, key=lambda one: one.kept_bytes)
            before = longest.kept_bytes
            if not longest.shrink():
                return
            over -= before - longest.kept_bytes
