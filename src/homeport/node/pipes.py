"""A unit's two named pipes: read by the node, nothing of it lost or repeated when the node is killed at any moment.
Owned by one unit.

The unit's side holds the pipes open for reading and writing, so a program that writes while the node is away waits
and never dies of it. The kernel moves what comes from the pipe into a spool file (splice), so at no moment is it only
in the node's memory; the log says with each batch of lines up to which byte of the spool they go, and a later node
begins there. What lies before that is given back to the disk (a hole).

`Pump` reads all pipes of the node in turns and takes at most half of its time for them: who prints without end waits.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from homeport.core.clock import SystemClock
from homeport.node import disk

log = logging.getLogger(__name__)

LINE_BYTES = 16 * 1024  # a longer line is cut into several: one line must fit into memory many times over
READ_BYTES = 16 * 1024  # in one turn: at most as many lines, which takes some milliseconds
HOLE_BYTES = 256 * 1024  # of the spool, given back at once
SLICE_S = 0.005  # of work, then a pause of the same length
_SPLICE_NONBLOCK = 2


class Pipe:
    """The node's end of one stream. `position`: the byte of the spool up to which whole lines were handed out."""

    def __init__(self, path: Path, stream: str, position: int) -> None:
        """Goes on at `position` of the spool beside `path`. Raises OSError."""
        self.stream = stream
        self.position = position
        self.handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            spool = path.with_suffix(".spool")
            self._spool = os.open(spool, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            os.close(self.handle)
            raise
        self._end = max(os.fstat(self._spool).st_size, position)  # less when the spool was thrown away
        self.total = 0  # bytes read
        self.taken = position  # of the spool, into `_rest`
        self._hole = 0  # a former node may not have come to it
        self._floor = position  # what is in `_rest` may have come past the spool since
        self._rest = b""

    def read(self) -> tuple[list[str], bool]:
        """The whole lines that came, and whether more may be waiting. Raises OSError other than a full disk."""
        if self.taken < self._end:
            data = os.pread(self._spool, min(READ_BYTES, self._end - self.taken), self.taken)
        else:
            data = self._fetch()
        if not data:
            return [], False
        self.taken += len(data)
        self.total += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in lines for piece in _cut(line)]
        if len(self._rest) > LINE_BYTES:
            *more, self._rest = _pieces(self._rest)
            pieces += map(_text, more)
        self.position = max(self.taken - len(self._rest), self._floor)
        return pieces, True

    def settle(self) -> None:
        """The log holds everything up to `position`."""
        if self.position - self._hole >= HOLE_BYTES and disk.punch(self._spool, self._hole, self.position):
            self._hole = self.position // disk.BLOCK_BYTES * disk.BLOCK_BYTES  # only whole blocks are given back

    def waiting_bytes(self) -> int:
        """The most that can be in the pipe and the spool now."""
        return disk.pipe_capacity(self.handle) + self._end - self.taken

    def close(self) -> list[str]:
        """Close and return what stood behind the last line end."""
        for handle in (self.handle, self._spool):
            os.close(handle)
        rest, self._rest = self._rest, b""
        self.position = self.taken
        return _cut(rest) if rest else []

    def _fetch(self) -> bytes:
        """From the pipe through the spool; on a full disk past it."""
        try:
            moved = os.splice(self.handle, self._spool, READ_BYTES, offset_dst=self._end, flags=_SPLICE_NONBLOCK)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EINVAL):
                raise
            with contextlib.suppress(BlockingIOError):
                data = os.read(self.handle, READ_BYTES)
                self.taken -= len(data)  # it is in no spool, and counted by the caller
                self._floor = self.taken + len(data)
                return data
            return b""
        self._end += moved
        return os.pread(self._spool, moved, self.taken)


class Pump:
    """Calls back for pipes that have something, one read each in turns. One per node."""

    def __init__(self) -> None:
        self._ready: deque[tuple[int, Callable[[], bool]]] = deque()
        self._known: set[int] = set()
        self._turn: asyncio.TimerHandle | None = None

    def add(self, handle: int, read: Callable[[], bool]) -> None:
        """From now on `read` is called, at once and when `handle` is readable; it says whether more may be waiting."""
        self._known.add(handle)
        self._enqueue(handle, read)

    def remove(self, handle: int) -> None:
        self._known.discard(handle)
        asyncio.get_running_loop().remove_reader(handle)
        self._ready = deque(entry for entry in self._ready if entry[0] != handle)

    def _watch(self, handle: int, read: Callable[[], bool]) -> None:
        asyncio.get_running_loop().add_reader(handle, self._wake, handle, read)

    def _wake(self, handle: int, read: Callable[[], bool]) -> None:
        asyncio.get_running_loop().remove_reader(handle)
        self._enqueue(handle, read)

    def _enqueue(self, handle: int, read: Callable[[], bool]) -> None:
        self._ready.append((handle, read))
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_later(0, self._work)

    def _work(self) -> None:
        clock = SystemClock()
        began = clock.monotonic()
        while self._ready and clock.monotonic() - began < SLICE_S:
            handle, read = self._ready.popleft()
            try:
                more = read()
            except Exception:  # a bug with one unit's output is not to stop that of all others
                log.exception("output could not be read")
                more = False
            if handle not in self._known:
                continue
            if more:
                self._ready.append((handle, read))
            else:
                self._watch(handle, read)
        pause_s = clock.monotonic() - began
        self._turn = asyncio.get_running_loop().call_later(pause_s, self._work) if self._ready else None


def _cut(line: bytes) -> list[str]:
    return [_text(piece) for piece in _pieces(line.removesuffix(b"\r"))]


def _pieces(line: bytes) -> list[bytes]:
    """`line` in pieces of at most LINE_BYTES, cut between characters where it is text."""
    found = []
    while len(line) > LINE_BYTES:
        at = next((at for at in range(LINE_BYTES, LINE_BYTES - 4, -1) if line[at] & 0xC0 != 0x80), LINE_BYTES)
        found.append(line[:at])
        line = line[at:]
    return [*found, line]


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")
