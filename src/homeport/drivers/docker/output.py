"""What a container printed. The engine keeps it in files of its own; this copies them, when somebody reads, into rows
of JSON that are read by offset and by time.

Why a copy: the engine finds lines by time only, and reads a whole log to do it; its times are not unique where an
engine stamps several lines at once; and offsets must stay valid. Why when somebody reads: a program that prints without
end then costs the engine, which bounds its files, and not us. The copy is of the same bound. What the engine had thrown
away before anybody read is lost.

Where the copying stood is kept beside the copy with the copy's length, and what was written after that is cut off
before it goes on: so no line is missing or twice, whenever we are killed.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from homeport.core.clock import timestamp
from homeport.core.units import LogLine
from homeport.node.logfiles import ANSWER_BYTES, STAMP_STEP, parse_row, position_of, rows_backwards, seek_line

LATE_NS = 1_000_000  # two streams of a program are stamped by two threads: one may be written down this much later
LINE_CHARACTERS = 16 * 1024  # a longer line is cut into several: one line must fit into memory many times over
TAIL = 1000  # lines that an engine finds from the end of its files; more, and it reads them from the beginning
BATCH = 1000  # lines written at once, between which others get their turn
PIECES = 8  # files of one copy: dropping the oldest loses an eighth
MISSED = "[homeport] Output before this was dropped by the engine, which keeps only the newest"
_EPOCH = datetime.fromtimestamp(0, UTC)

Fetch = Callable[[int, int | None], AsyncIterator[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line as the engine has it: nanoseconds since 1970, stream, text."""

    ns: int
    stream: str
    text: str


@dataclass(slots=True)
class _Position:
    """recent: the engine's times of the lines copied last, as far back as a late line may stand. stamp: our time of
    the last line, in microseconds. end: how long the copy is, counted from its very first byte."""

    recent: list[int] = field(default_factory=list)
    stamp: int = 0
    end: int = 0

    @property
    def since(self) -> int:
        return max(self.recent) - LATE_NS if self.recent else 0


class Copy:
    """The copy of one container's output in `folder`, at most about `limit` bytes of it, the oldest dropped first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._rows = folder / "log"
        self._limit = max(limit, PIECES * 4096)
        self._turn = asyncio.Lock()
        self._position: _Position | None = None

    async def read(self, offset: int, limit: int) -> list[LogLine]:
        return await asyncio.to_thread(_read, self._rows, offset, limit)

    async def read_before(self, before: datetime, limit: int) -> list[LogLine]:
        return await asyncio.to_thread(_read_before, self._rows, before, limit)

    async def bring(self, fetch: Fetch) -> None:
        """Copy what was printed since the last time. `fetch(since_ns, tail)` asks the engine."""
        async with self._turn:
            position = self._position or self._resume()
            self._position = None  # until this has gone well
            known = Counter(position.recent)
            if known:
                last = [line async for line in _lines(fetch(position.since, TAIL))]
                if len(last) < TAIL:  # so these are all
                    self._append(position, [line for line in last if _is_new(line, known)])
                    self._position = position
                    return
            await self._copy_all(position, fetch)
            self._position = position

    async def _copy_all(self, position: _Position, fetch: Fetch) -> None:
        known, batch = Counter(position.recent), list[Line]()
        missed = bool(known)  # until one is seen that was copied before
        async with aclosing(_lines(fetch(position.since, None))) as lines:
            async for line in lines:
                if not _is_new(line, known):
                    missed = False
                    continue
                if missed:
                    batch.append(Line(line.ns, "stderr", MISSED))
                    missed = False
                batch.append(line)
                if len(batch) == BATCH:
                    self._append(position, batch)
                    batch = []
                    await asyncio.sleep(0)
        self._append(position, batch)

    def _append(self, position: _Position, lines: list[Line]) -> None:
        """Write the lines, then where that was."""
        if not lines:
            return
        rows = bytearray()
        for line in lines:
            position.stamp = max(line.ns // 1000, position.stamp + 1)
            stamp = timestamp(_EPOCH + position.stamp * STAMP_STEP)
            row = json.dumps([stamp, line.stream, line.text], ensure_ascii=False, separators=(",", ":"))
            rows += row.encode("utf-8", errors="replace") + b"\n"
        self._write(position, bytes(rows))
        times = position.recent + [line.ns for line in lines]
        position.recent = [ns for ns in times if ns >= max(times) - LATE_NS]
        fresh = self._folder / "position.new"
        fresh.write_text(json.dumps(asdict(position)))
        fresh.rename(self._folder / "position")

    def _write(self, position: _Position, rows: bytes) -> None:
        self._rows.mkdir(mode=0o700, parents=True, exist_ok=True)
        pieces = _pieces(self._rows)
        if not pieces or pieces[-1].stat().st_size >= self._limit // PIECES:
            pieces.append(self._rows / f"{position.end:015d}.jsonl")
        with open(pieces[-1], "ab") as file:
            file.write(rows)
        position.end += len(rows)
        while len(pieces) > 2 and position.end - int(pieces[1].stem) >= self._limit:
            pieces.pop(0).unlink()

    def _resume(self) -> _Position:
        """Where a former server stood; what it wrote after it had last said so is cut off."""
        try:
            position = _Position(**json.loads((self._folder / "position").read_text()))
        except (OSError, ValueError, TypeError):
            position = _Position()
        pieces = _pieces(self._rows)
        if pieces and int(pieces[-1].stem) + pieces[-1].stat().st_size < position.end:
            position = _Position()  # the machine lost what had been written: begin anew
        for piece in pieces:
            length = position.end - int(piece.stem)
            if length <= 0:
                piece.unlink()
            elif piece.stat().st_size > length:
                os.truncate(piece, length)
        return position


def _is_new(line: Line, known: Counter[int]) -> bool:
    """Whether it is none of the lines copied before, of which `known` counts the times."""
    if known[line.ns] == 0:
        return True
    known[line.ns] -= 1
    return False


async def _lines(frames: AsyncIterator[tuple[str, bytes]]) -> AsyncGenerator[Line, None]:
    """The engine's lines, long ones cut. One without a time is the engine's own and is left out."""
    async for stream, data in frames:
        time, _, rest = data.partition(b" ")
        with contextlib.suppress(ValueError):
            ns, text = nanoseconds(time.decode()), rest.decode(errors="replace").removesuffix("\r")
            for at in range(0, max(len(text), 1), LINE_CHARACTERS):
                yield Line(ns, stream, text[at : at + LINE_CHARACTERS])


def nanoseconds(text: str) -> int:
    """The engine's time (RFC 3339, up to nine decimals) in nanoseconds since 1970."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    fraction = text.partition(".")[2]
    digits = fraction[: next((at for at, sign in enumerate(fraction) if not sign.isdigit()), len(fraction))]
    whole = int((moment.replace(microsecond=0) - _EPOCH).total_seconds())
    return whole * 10**9 + int(digits.ljust(9, "0")[:9] or 0)


def _read(folder: Path, offset: int, limit: int) -> list[LogLine]:
    """At most `limit` lines from `offset` on, or from the oldest kept one when that is later."""
    found: list[LogLine] = []
    pieces = _pieces(folder)
    if pieces and offset < int(pieces[0].stem):
        found += [line for line in (_dropped(pieces[0]),) if line]
    budget = ANSWER_BYTES
    for piece in pieces:
        base = int(piece.stem)
        with contextlib.suppress(FileNotFoundError), open(piece, "rb") as file:  # dropped meanwhile
            if offset >= base + os.fstat(file.fileno()).st_size:
                continue
            seek_line(file, max(offset - base, 0))
            while len(found) < limit and budget > 0 and (row := file.readline()).endswith(b"\n"):
                found.append(parse_row(row, base + file.tell()))
                budget -= len(row)
    return found


def _read_before(folder: Path, before: datetime, limit: int) -> list[LogLine]:
    """At most `limit` lines, the newest of those stamped before `before`, oldest first."""
    found: list[LogLine] = []
    budget = ANSWER_BYTES
    pieces = _pieces(folder)
    for piece in reversed(pieces):
        with contextlib.suppress(FileNotFoundError), open(piece, "rb") as file:
            for row, end in rows_backwards(file, position_of(file, timestamp(before))):
                found.append(parse_row(row, int(piece.stem) + end))
                budget -= len(row)
                if len(found) == limit or budget <= 0:
                    return found[::-1]
    if pieces and int(pieces[0].stem) > 0 and (dropped := _dropped(pieces[0])) and dropped.time < before:
        found.append(dropped)
    return found[::-1]


def _dropped(first: Path) -> LogLine | None:
    """The line that stands for those before the first file: just earlier than what follows."""
    base = int(first.stem)
    with contextlib.suppress(FileNotFoundError), open(first, "rb") as file:
        if row := file.readline():
            text = f"[homeport] Output before this was dropped ({base} bytes): only the newest is kept"
            return LogLine(time=parse_row(row, 0).time - STAMP_STEP, stream="stderr", text=text, offset=base)
    return None


def _pieces(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))
