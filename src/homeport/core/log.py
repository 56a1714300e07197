"""Logging of the long-lived processes: one line a record on standard error, which `up` keeps in a file.

A process that is told its file bounds it by itself: whoever writes knows when no line is under way, so nothing is lost,
and it goes on while nobody watches over the process.
"""

import contextlib
import logging
import os
import sys
from pathlib import Path

from homeport.core.clock import SystemClock

REPEATS_S = 60.0
REPEATS_MOST = 20  # in that time
LOG_BYTES = 64 * 1024 * 1024  # of one process, kept twice: the present file and the one before


def configure(process: str, level: str = "INFO", file: Path | None = None) -> None:
    """Send every record to standard error with the time, the level and the process's name. When standard error is
    `file`, that is kept below a bound."""
    handler = logging.StreamHandler(sys.stderr) if file is None else _Bounded(file)
    handler.addFilter(_Repeats())
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "alembic", "aiohttp.access"):
        logging.getLogger(noisy).setLevel("WARNING")


def previous(file: Path) -> Path:
    """Where the part before the present file is kept."""
    return file.with_name(file.name + ".1")


class _Repeats(logging.Filter):
    """Lets a warning of one kind, which is one place in the code, pass a few times a minute only and counts the others:
    what fails over and over, such as a write to a full disk, would drown what is said besides."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = SystemClock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # as many as there are such places

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind, now = (record.name, str(record.msg)), self._clock.monotonic()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= REPEATS_S:
            if count > REPEATS_MOST:
                left_out = f" ({count - REPEATS_MOST} more of this kind were left out)"
                record.msg, record.args = record.getMessage() + left_out, ()
            since, count = now, 0
        self._seen[kind] = (since, count + 1)
        return count < REPEATS_MOST


class _Bounded(logging.StreamHandler):
    """Begins a new file once the present one has grown. Standard output and error follow, so that what is printed
    without logging is in the same file."""

    def __init__(self, file: Path) -> None:
        super().__init__(sys.stderr)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        with contextlib.suppress(OSError):  # a full disk, for one: the present file goes on
            if os.fstat(2).st_size > LOG_BYTES:
                self._begin_anew()

    def _begin_anew(self) -> None:
        ours, named = os.fstat(2), self._file.stat()
        if not os.path.samestat(ours, named):
            return  # a terminal, a pipe, or somebody else's file
        outputs = [number for number in (1, 2) if os.path.samestat(os.fstat(number), named)]
        fresh = self._file.with_name(self._file.name + ".new")
        opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.replace(self._file, previous(self._file))
            os.replace(fresh, self._file)
            for number in outputs:
                os.dup2(opened, number)
        finally:
            os.close(opened)
