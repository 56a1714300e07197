"""The watch over the components: starts them in order, restarts what dies, stops them in the reverse order.

One thread, one poll over pidfds and signals. Used by `homeport.supervise.up`; knows nothing of what the components
are, of ports or of terminals. Stopping is bounded: SIGKILL is the last word.
"""

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from select import POLLIN, poll
from typing import Protocol

from homeport.core.clock import Clock
from homeport.core.errors import Unavailable
from homeport.core.service import REFUSED
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.logs import bound_idle_log, bound_written_log
from homeport.supervise.processes import Handle, ProcessId, spawn
from homeport.supervise.progress import Progress
from homeport.supervise.pulse import Pulse, Question

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.1  # before the second restart; the first one comes at once
_BACKOFF_MAX_S = 10.0  # and a broken one may not burn the processor
_STEADY_S = 10.0  # one that lived so long ran well: its next start is a first one again
_DEATHS_AT_START = 3  # a component that dies as often before it was ever ready will not become ready
_START_BOUND_S = 60.0  # the slowest start of a component seen is a few seconds; a loaded machine is ten times slower
_TURN_S = 0.05  # between two looks at whether a component answers
_ADOPT_BOUND_S = 10.0  # one that was taken over and does not answer by then hangs
_WATCH_S = 1.0  # between two looks at what does not show by itself: silence, the size of logs
_WARN_SILENT_S = 15.0  # a component that answers later than this is worth a word
SILENT_S = 60.0  # and one that has not by then hangs; a machine under load is slow, not silent
_KILL_BOUND_S = 5.0  # the kernel needs milliseconds
HURRY_S = 1.0  # what a component gets when the operator asks for a stop a second time

_ALWAYS: tuple[bool, str] = (True, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One long-lived process. ready: whether it answers, and if not why. stop_grace_s: from SIGTERM to SIGKILL;
    hurry_s: the same once the operator has asked a second time. question: what it answers while it lives; silent_s:
    after so long without an answer it is killed. bounds_log: whether it keeps its log below a bound by itself. version:
    of its program and settings; one of another version is not taken over."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    ready: Callable[[], tuple[bool, str]] = lambda: _ALWAYS
    stop_grace_s: float = 10.0
    hurry_s: float = HURRY_S
    question: Question | None = None
    silent_s: float = SILENT_S
    bounds_log: bool = False
    version: str = ""


@dataclass(slots=True)
class _Watched:
    component: Component
    handle: Handle | None = None
    adopted: bool = False
    deaths: int = 0
    refused: bool = False
    started_at: float = 0.0
    restart_at: float | None = None
    log_start: int = 0
    pulse: Pulse | None = None
    warned: bool = False


class Book(Protocol):
    """Where the supervisor writes down what it starts."""

    def record(self, name: str, identity: ProcessId | None, version: str = "") -> None:
        """The component runs as `identity`, or has ended (None). Never raises: what cannot be written now is kept."""
        ...

    def keep(self) -> None:
        """Write what could not be written."""
        ...


class StopAsked(Exception):
    """The operator asked to stop while the start was under way."""


class Supervisor:
    """Owns the components' processes from `start` or `adopt` to `stop`."""

    def __init__(
        self,
        components: Sequence[Component],
        *,
        book: Book,
        interrupts: Interrupts,
        progress: Progress,
        clock: Clock,
    ) -> None:
        """`book` is told of each start, before the component runs, and of each end."""
        self._watched = {component.name: _Watched(component) for component in components}
        self._book = book
        self._interrupts = interrupts
        self._progress = progress
        self._clock = clock

    def adopt(self, name: str, handle: Handle) -> None:
        """Take over a living component of an earlier supervisor instead of starting one."""
        watched = self._watched[name]
        watched.handle, watched.adopted = handle, True
        watched.started_at = self._clock.monotonic()
        self._book.record(name, handle.identity, watched.component.version)

    def start(self) -> None:
        """Start every component in order, each after the one before answers. Raises `Unavailable` with the end of its
        log when one cannot start, `StopAsked` when asked to stop; the caller then calls `stop`."""
        for watched in self._watched.values():
            self._progress.step(f"starting {watched.component.name}")
            if watched.handle is None:
                self._spawn(watched)
            self._await_ready(watched)
            self._progress.done(f"{watched.component.name} {'goes on' if watched.adopted else 'is up'}")

    def wait_for(self, what: str, ready: Callable[[], tuple[bool, str]]) -> None:
        """Watch over the components until `ready` says so. Raises `Unavailable` after a bound, or `StopAsked`."""
        self._progress.step(f"waiting for {what}")
        deadline = self._clock.monotonic() + _START_BOUND_S
        while not (answer := ready())[0]:
            if self._clock.monotonic() > deadline:
                raise Unavailable(f"{what} was not ready within {_START_BOUND_S:.0f} s: {answer[1]}.")
            self._turn(_TURN_S)

    def watch(self) -> None:
        """Watch over the components until asked to stop."""
        for watched in self._watched.values():
            if watched.component.question is not None:
                watched.pulse = Pulse(watched.component.name, watched.component.question)
                watched.pulse.start()
        try:
            while True:
                self._turn(_WATCH_S)
                self._book.keep()
                for watched in self._watched.values():
                    self._look_at(watched)
        except StopAsked:
            return
        finally:
            for watched in self._watched.values():
                if watched.pulse is not None:
                    watched.pulse.stop()

    def tend(self, seconds: float) -> None:
        """Start again what dies, for `seconds`, or until the operator asks once more."""
        self._wait(seconds)
        self._act()

    def stop(self) -> None:
        """Stop what runs, the last started first, each within its grace. Idempotent; never raises."""
        for watched in reversed(self._watched.values()):
            if watched.handle is not None:
                self._stop_one(watched, watched.handle)

    def _look_at(self, watched: _Watched) -> None:
        """What no event tells."""
        if not watched.component.bounds_log:
            bound_written_log(watched.component.log)
        if watched.pulse is None or watched.handle is None:
            return
        name, silent_s = watched.component.name, watched.pulse.silent_s
        if silent_s >= watched.component.silent_s:
            self._progress.warn(f"{name} has not answered for {silent_s:.0f} s and is killed")
            watched.pulse.silent_s = 0.0
            watched.handle.send(signal.SIGKILL)
        elif silent_s >= _WARN_SILENT_S and not watched.warned:
            watched.warned = True
            left_s = watched.component.silent_s - silent_s
            self._progress.warn(f"{name} has not answered for {silent_s:.0f} s; it is killed in {left_s:.0f} s")
        elif silent_s == 0 and watched.warned:
            watched.warned = False
            self._progress.done(f"{name} answers again")

    def _await_ready(self, watched: _Watched) -> None:
        began = self._clock.monotonic()
        deadline = began + _START_BOUND_S
        answer = (False, "it has not been asked")
        while watched.handle is None or not (answer := watched.component.ready())[0]:
            self._turn(_TURN_S)
            if watched.adopted and watched.handle and self._clock.monotonic() > began + _ADOPT_BOUND_S:
                # Not asked to end: a node that is asked ends its programs first.
                self._progress.warn(f"{watched.component.name} of the earlier start does not answer and is killed")
                watched.adopted = False
                watched.handle.send(signal.SIGKILL)
            if watched.refused:
                raise self._failed(watched, "does not start")
            if watched.deaths >= _DEATHS_AT_START:
                raise self._failed(watched, f"ended {watched.deaths} times before it was ready")
            if self._clock.monotonic() > deadline:
                raise self._failed(watched, f"was not ready within {_START_BOUND_S:.0f} s: {answer[1]}")

    def _failed(self, watched: _Watched, what: str) -> Unavailable:
        component = watched.component
        tail = _tail(component.log, watched.log_start)
        shown = f"\nThe end of {component.log}:\n{tail}" if tail else f" It wrote nothing to {component.log}."
        return Unavailable(f"{component.name} {what}.{shown}")

    def _turn(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` for a death, a signal or a due restart, and act on it."""
        self._wait(timeout_s)
        if self._interrupts.count:
            raise StopAsked
        self._act()

    def _wait(self, timeout_s: float) -> None:
        now = self._clock.monotonic()
        due = [watched.restart_at - now for watched in self._watched.values() if watched.restart_at is not None]
        poller = poll()
        poller.register(self._interrupts.fileno(), POLLIN)
        for watched in self._watched.values():
            if watched.handle is not None:
                poller.register(watched.handle.fileno(), POLLIN)
        poller.poll(max(0.0, min([timeout_s, *due])) * 1000)
        self._interrupts.clear()

    def _act(self) -> None:
        for watched in self._watched.values():
            if watched.handle is not None and watched.handle.ended():
                self._died(watched, watched.handle)
            elif watched.restart_at is not None and watched.restart_at <= self._clock.monotonic():
                self._spawn(watched)

    def _spawn(self, watched: _Watched) -> None:
        component = watched.component
        bound_idle_log(component.log)
        watched.log_start = component.log.stat().st_size if component.log.exists() else watched.log_start
        try:
            starting = spawn(component.argv, log=component.log, env=component.env)
        except OSError as exc:  # no process, no memory, no room for the log: it may pass
            watched.restart_at = self._clock.monotonic() + _BACKOFF_MAX_S
            self._progress.warn(f"{component.name} cannot be started: {exc}; tried again in {_BACKOFF_MAX_S:.0f} s")
            return
        watched.handle, watched.restart_at = starting.handle, None
        watched.started_at = self._clock.monotonic()
        watched.warned = False
        self._book.record(component.name, starting.handle.identity, component.version)
        starting.admit()
        log.info("%s started, pid %d", component.name, starting.handle.identity.pid)

    def _died(self, watched: _Watched, handle: Handle) -> None:
        now = self._clock.monotonic()
        how = handle.how()
        watched.refused = handle.exit_code == REFUSED
        handle.close()
        watched.handle, watched.adopted = None, False
        self._book.record(watched.component.name, None)
        watched.deaths = 1 if now - watched.started_at > _STEADY_S else watched.deaths + 1
        wait_s = _wait_s(watched)
        name, again = watched.component.name, f"in {wait_s:.1f} s" if wait_s else "now"
        if watched.refused:
            how = f"does not start:\n{_tail(watched.component.log, watched.log_start)}\n "
        if wait_s:
            watched.restart_at = now + wait_s
        else:
            self._spawn(watched)
        self._progress.warn(f"{name} {how}; starting it again {again} (log: {watched.component.log})")

    def _stop_one(self, watched: _Watched, handle: Handle) -> None:
        component = watched.component
        self._progress.step(f"stopping {component.name}")
        grace = Grace(
            seconds=component.stop_grace_s,
            hurried_s=component.hurry_s,
            hurry=lambda: self._interrupts.count >= 2,
        )
        killed = not end(handle, grace, self._clock)
        handle.close()
        watched.handle, watched.restart_at = None, None
        self._book.record(component.name, None)
        if killed:
            self._progress.warn(f"{component.name} did not stop in time and was killed")
        else:
            self._progress.done(f"{component.name} stopped")


def _wait_s(watched: _Watched) -> float:
    """Before the next start of what has ended."""
    if watched.refused:
        return _BACKOFF_MAX_S
    if watched.deaths == 1:
        return 0.0
    return min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** min(watched.deaths - 2, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """From SIGTERM to SIGKILL: `seconds`, or `hurried_s` from the moment when `hurry` says so."""

    seconds: float
    hurried_s: float = HURRY_S
    hurry: Callable[[], bool] = lambda: False


def end(handle: Handle, grace: Grace, clock: Clock) -> bool:
    """SIGTERM, then SIGKILL after the grace. Returns whether it ended without SIGKILL, and only after its end."""
    handle.send(signal.SIGTERM)
    handle.send(signal.SIGCONT)  # one that is stopped could not obey
    deadline = clock.monotonic() + grace.seconds
    hurried = False
    while not handle.ended(_TURN_S):
        if not hurried and grace.hurry():
            hurried, deadline = True, min(deadline, clock.monotonic() + grace.hurried_s)
        if clock.monotonic() > deadline:
            kill(handle)
            return False
    return True


def kill(handle: Handle) -> None:
    """SIGKILL, and wait for the end: not for ever, since a dead disk can hold a process in the kernel."""
    handle.send(signal.SIGKILL)
    handle.ended(_KILL_BOUND_S)


def _tail(path: Path, start: int, lines: int = 12, width: int = 16 * 1024) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start if start <= size else 0, size - width))
            text = file.read(width).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:])
