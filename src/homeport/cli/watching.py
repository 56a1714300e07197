"""Watching an execution: a progress bar on a terminal, a line at each change elsewhere. Used by `run job`."""

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from homeport.cli.output import note
from homeport.cli.progress import hold_terminal
from homeport.core.clock import SystemClock
from homeport.jobs.states import ExecutionStatus

if TYPE_CHECKING:
    from homeport.client import Homeport

_INTERVAL_S = 0.25  # between two looks: live for people, little work for the server
_LINE_INTERVAL_S = 1.0  # between two lines where there is no terminal


class _View(Protocol):
    def show(self, execution: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def watch_execution(client: "Homeport", job: str, execution: str) -> dict[str, Any]:
    """Show progress until the execution ends; returns it as it ended. Its tasks have timeouts, so it ends."""
    view: _View = _Bar(execution) if sys.stderr.isatty() else _Lines(execution)
    try:
        with hold_terminal():
            while True:
                found = client.get_execution(job, execution)
                view.show(found)
                if ExecutionStatus(found["status"]).terminal:
                    return found
                time.sleep(_INTERVAL_S)
    finally:
        view.close()


class _Bar:
    def __init__(self, execution: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rest]}"),
        )
        self._progress = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
        self._task = self._progress.add_task(execution, total=None, rest="")
        self._rate = _Rate()
        self._progress.start()

    def show(self, execution: dict[str, Any]) -> None:
        stats = execution.get("stats") or {}
        done = _done(stats)
        rest = _rest(stats, self._rate.after(done))
        self._progress.update(self._task, total=stats.get("total") or None, completed=done, rest=rest)

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, execution: str) -> None:
        self._execution = execution
        self._rate = _Rate()
        self._last = ""
        self._next = 0.0

    def show(self, execution: dict[str, Any]) -> None:
        stats = execution.get("stats") or {}
        done, now = _done(stats), SystemClock().monotonic()
        rate = self._rate.after(done)
        state = f"{execution.get('status')} {done}/{stats.get('total', 0)} {_rest(stats, '')}"
        ended = ExecutionStatus(execution["status"]).terminal
        if state != self._last and (ended or now >= self._next):
            self._last, self._next = state, now + _LINE_INTERVAL_S
            note(f"{self._execution}: {state.rstrip()}{f', {rate}' if rate else ''}")

    def close(self) -> None:
        """Nothing is open."""


class _Rate:
    """Tasks a second since the first look."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._start = self._clock.monotonic()

    def after(self, done: int) -> str:
        elapsed_s = self._clock.monotonic() - self._start
        return f"{done / elapsed_s:.1f} tasks/s" if done and elapsed_s > _INTERVAL_S else ""


def _done(stats: dict[str, Any]) -> int:
    return sum(int(stats.get(key) or 0) for key in ("success", "failure", "cancelled"))


def _rest(stats: dict[str, Any], rate: str) -> str:
    words = [
        f"{stats.get(key, 0)} {word}"
        for key, word in (("running", "running"), ("failure", "failed"), ("retried", "retried"))
    ]
    return ", ".join([*words, *([rate] if rate else [])])
