"""What is shown on standard error while something takes longer than a second: a spinner or a bar on a terminal, plain
lines elsewhere. Whatever draws holds the terminal; a second one stays silent rather than garble the first.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from homeport.cli.output import note
from homeport.core.clock import SystemClock

_PATIENCE_S = 1.0  # what answers sooner needs no explanation
_LINE_INTERVAL_S = 5.0  # between two lines about an upload where there is no terminal
_drawing = threading.Lock()


class Lines:
    """Progress where there is no terminal: only what is said."""

    def update(self, text: str) -> None:
        """Nothing: a line for each would be noise."""

    def say(self, text: str) -> None:
        note(text)


class Spinner(Lines):
    """A line that moves; what is said appears above it."""

    def __init__(self, console: Any, status: Any) -> None:
        self._console = console
        self._status = status

    def update(self, text: str) -> None:
        self._status.update(text)

    def say(self, text: str) -> None:
        from homeport.cli.output import printable

        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(text: str) -> Iterator[Lines]:
    """Something that takes a while, `text` at first."""
    if not sys.stderr.isatty() or not _drawing.acquire(blocking=False):
        yield Lines()
        return
    try:
        console = _console()
        with console.status(text) as status:
            yield Spinner(console, status)
    finally:
        _drawing.release()


@contextmanager
def patience(text: str) -> Iterator[None]:
    """A spinner once this has taken a second, and nothing when it is quicker. Only on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show_if_slow, args=(text, over), name="patience", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show_if_slow(text: str, over: threading.Event) -> None:
    if over.wait(_PATIENCE_S) or not _drawing.acquire(blocking=False):
        return
    try:
        with _console().status(text):
            over.wait()
    finally:
        _drawing.release()


class Upload:
    """Bytes on their way. Call it with the size of every block."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._sent = 0
        self._clock = SystemClock()
        self._next = self._clock.monotonic() + _LINE_INTERVAL_S

    def __call__(self, size: int) -> None:
        self._sent += size
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + _LINE_INTERVAL_S
            note(f"uploaded {human_size(self._sent)} of {human_size(self._total)}")


class _UploadBar(Upload):
    def __init__(self, total: int, bar: Any) -> None:
        super().__init__(total)
        self._bar = bar
        self._task = bar.add_task("uploading", total=total)

    def __call__(self, size: int) -> None:
        self._bar.advance(self._task, size)


@contextmanager
def upload_progress(total: int) -> Iterator[Upload]:
    """Progress of an upload of `total` bytes."""
    if not sys.stderr.isatty() or not _drawing.acquire(blocking=False):
        yield Upload(total)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, console=_console(), transient=True) as bar:
            yield _UploadBar(total, bar)
    finally:
        _drawing.release()


@contextmanager
def hold_terminal() -> Iterator[None]:
    """For what draws by itself."""
    held = _drawing.acquire(blocking=False)
    try:
        yield
    finally:
        if held:
            _drawing.release()


def human_size(size: int) -> str:
    """Bytes in KB or MB."""
    return f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{max(1, size // 1024)} KB"


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False)
