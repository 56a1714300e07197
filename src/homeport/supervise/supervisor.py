"""The watch over the components: starts them in order, restarts what dies, stops them in the reverse order.

One thread, one poll over pidfds and signals. Used by `homeport.supervise.up`; knows nothing of what the components
are, of ports or of terminals. Stopping is bounded: SIGKILL is the last word.
"""

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from select import POLLIN, poll

from homeport.core.clock import Clock
from homeport.core.errors import Unavailable
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.processes import Handle, ProcessId, spawn
from homeport.supervise.progress import Progress

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.1  # a component is worth a quick second try
_BACKOFF_MAX_S = 10.0  # and a broken one may not burn the processor
_STEADY_S = 30.0  # after this long without a death the back-off begins anew
_DEATHS_AT_START = 3  # a component that dies as often before it was ever ready will not become ready
_START_BOUND_S = 60.0  # the slowest start of a component seen is a few seconds; a loaded machine is ten times slower
_TURN_S = 0.05  # between two looks at whether a component answers
_WATCH_S = 60.0  # between two looks at the size of the logs
_LOG_BYTES = 64 * 1024 * 1024  # of one component, kept twice: the present one and the one before
HURRY_S = 1.0  # what a component gets when the operator asks for a stop a second time

_ALWAYS: tuple[bool, str] = (True, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One long-lived process. ready: whether it answers, and if not why. drain: called before it is asked to end;
    returns within a few seconds. stop_grace_s: from SIGTERM to SIGKILL; hurry_s: the same once the operator has asked a
    second time."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    ready: Callable[[], tuple[bool, str]] = lambda: _ALWAYS
    drain: Callable[[], None] | None = None
    stop_grace_s: float = 10.0
    hurry_s: float = HURRY_S


@dataclass(slots=True)
class _Watched:
    component: Component
    handle: Handle | None = None
    deaths: int = 0
    started_at: float = 0.0
    restart_at: float | None = None
    log_start: int = field(default=0)


class StopAsked(Exception):
    """The operator asked to stop while the start was under way."""


class Supervisor:
    """Owns the components' processes from `start` or `adopt` to `stop`."""

    def __init__(
        self,
        components: Sequence[Component],
        *,
        record: Callable[[str, ProcessId | None], None],
        interrupts: Interrupts,
        progress: Progress,
        clock: Clock,
    ) -> None:
        """`record` is told of each start, before the component runs, and of each end."""
        self._watched = {component.name: _Watched(component) for component in components}
        self._record = record
        self._interrupts = interrupts
        self._progress = progress
        self._clock = clock
        self._stopping = False

    def adopt(self, name: str, handle: Handle) -> None:
        """Take over a living component of an earlier supervisor instead of starting one."""
        watched = self._watched[name]
        watched.handle = handle
        watched.started_at = self._clock.monotonic()
        self._record(name, handle.identity)

    def start(self) -> None:
        """Start every component in order, each after the one before answers. Raises `Unavailable` with the end of its
        log when one cannot start, `StopAsked` when asked to stop; the caller then calls `stop`."""
        for watched in self._watched.values():
            self._progress.step(f"starting {watched.component.name}")
            adopted = watched.handle is not None
            if not adopted:
                self._spawn(watched)
            self._await_ready(watched)
            self._progress.done(f"{watched.component.name} {'goes on' if adopted else 'is up'}")

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
        while not self._interrupts.count:
            try:
                self._turn(_WATCH_S)
            except StopAsked:
                return
            for watched in self._watched.values():
                _bound_log(watched.component.log)

    def stop(self) -> None:
        """Stop what runs, the last started first, each within its grace. Idempotent; never raises."""
        self._stopping = True
        for watched in reversed(self._watched.values()):
            if watched.handle is not None:
                self._stop_one(watched, watched.handle)

    def _await_ready(self, watched: _Watched) -> None:
        deadline = self._clock.monotonic() + _START_BOUND_S
        answer = (False, "it has not been asked")
        while watched.handle is None or not (answer := watched.component.ready())[0]:
            self._turn(_TURN_S)
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
        now = self._clock.monotonic()
        due = [watched.restart_at - now for watched in self._watched.values() if watched.restart_at is not None]
        poller = poll()
        poller.register(self._interrupts.fileno(), POLLIN)
        for watched in self._watched.values():
            if watched.handle is not None:
                poller.register(watched.handle.fileno(), POLLIN)
        poller.poll(max(0.0, min([timeout_s, *due])) * 1000)
        self._interrupts.clear()
        if self._interrupts.count:
            raise StopAsked
        for watched in self._watched.values():
            if watched.handle is not None and watched.handle.ended():
                self._died(watched, watched.handle)
            elif watched.restart_at is not None and watched.restart_at <= self._clock.monotonic():
                self._spawn(watched)

    def _spawn(self, watched: _Watched) -> None:
        component = watched.component
        _bound_log(component.log)
        watched.log_start = component.log.stat().st_size if component.log.exists() else watched.log_start
        starting = spawn(component.argv, log=component.log, env=component.env)
        watched.handle, watched.restart_at = starting.handle, None
        watched.started_at = self._clock.monotonic()
        self._record(component.name, starting.handle.identity)
        starting.admit()
        log.info("%s started, pid %d", component.name, starting.handle.identity.pid)

    def _died(self, watched: _Watched, handle: Handle) -> None:
        now = self._clock.monotonic()
        how = handle.how()
        handle.close()
        watched.handle = None
        self._record(watched.component.name, None)
        watched.deaths = 1 if now - watched.started_at > _STEADY_S else watched.deaths + 1
        wait_s = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** min(watched.deaths - 1, 10))
        watched.restart_at = now + wait_s
        name = watched.component.name
        self._progress.warn(f"{name} {how}; starting it again in {wait_s:.1f} s (log: {watched.component.log})")

    def _stop_one(self, watched: _Watched, handle: Handle) -> None:
        component = watched.component
        self._progress.step(f"stopping {component.name}")
        if component.drain is not None and self._interrupts.count < 2 and not handle.ended():
            component.drain()
        grace = Grace(
            seconds=component.stop_grace_s,
            hurried_s=component.hurry_s,
            hurry=lambda: self._interrupts.count >= 2,
        )
        killed = not end(handle, grace, self._clock)
        handle.close()
        watched.handle, watched.restart_at = None, None
        self._record(component.name, None)
        if killed:
            self._progress.warn(f"{component.name} did not stop in time and was killed")
        else:
            self._progress.done(f"{component.name} stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """From SIGTERM to SIGKILL: `seconds`, or `hurried_s` from the moment when `hurry` says so."""

    seconds: float
    hurried_s: float = HURRY_S
    hurry: Callable[[], bool] = lambda: False


def end(handle: Handle, grace: Grace, clock: Clock) -> bool:
    """SIGTERM, then SIGKILL after the grace. Returns whether it ended without SIGKILL, and only after its end."""
    handle.send(signal.SIGTERM)
    deadline = clock.monotonic() + grace.seconds
    hurried = False
    while not handle.ended(_TURN_S):
        if not hurried and grace.hurry():
            hurried, deadline = True, min(deadline, clock.monotonic() + grace.hurried_s)
        if clock.monotonic() > deadline:
            handle.send(signal.SIGKILL)
            # A killed process can be held in the kernel by a dead disk; then nobody can do more.
            handle.ended(5.0)
            return False
    return True


def _tail(path: Path, start: int, lines: int = 12, width: int = 16 * 1024) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start if start <= size else 0, size - width))
            text = file.read(width).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:])


def _bound_log(path: Path) -> None:
    """Move a grown log aside. Its writer holds it open for appending, so it is emptied in place, not renamed; lines
    written between the copy and the emptying are lost, which a log may."""
    try:
        if path.stat().st_size <= _LOG_BYTES:
            return
        previous = path.with_suffix(path.suffix + ".1")
        with path.open("rb") as old, previous.open("wb") as kept:
            while block := old.read(1024 * 1024):
                kept.write(block)
        with path.open("r+b") as emptied:
            emptied.truncate(0)
    except FileNotFoundError:
        return  # nothing written yet
    except OSError as exc:
        log.warning("cannot bound %s: %s", path, exc)
