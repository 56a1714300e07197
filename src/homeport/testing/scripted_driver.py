"""A driver without processes: tests say what each unit does. For tests of the loops and of the runner.

It passes the same contract suite as the process driver. Nothing happens by itself unless a `Behaviour` says so: a unit
runs until the test calls `finish`, or somebody stops it, or its own timeout passes.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from homeport.core.clock import Clock, SystemClock
from homeport.core.errors import Conflict, DriverUnavailable
from homeport.core.ids import UnitId
from homeport.core.units import (
    TIMEOUT_GRACE_S,
    LogLine,
    Outcome,
    UnitExit,
    UnitSpec,
    UnitState,
    UnitStatus,
    check_signal,
    require_alone,
    require_running,
    signal_name,
)

_HARMLESS = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)  # no program ends by them


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a unit does. start_s: so many seconds it takes to become a process. outcome: it ends so, at once or
    `after_s` seconds later; None: it runs until it is ended. ports: where it listens from the start. lines: what it
    prints at once. obeys: it ends on SIGTERM and other signals that end programs. ends: how it ends when it is asked
    to; None: by the signal. handles: what it prints at which signal, and goes on."""

    start_s: float = 0.0
    outcome: Outcome | None = None
    after_s: float = 0.0
    ports: frozenset[int] = frozenset()
    lines: tuple[str, ...] = ()
    obeys: bool = True
    ends: Outcome | None = None
    handles: Mapping[int, str] = field(default_factory=dict)


def listens(spec: UnitSpec) -> Behaviour:
    """A program that runs, and listens on its PORT where it has one."""
    return Behaviour(ports=frozenset({int(spec.env["PORT"])}) if "PORT" in spec.env else frozenset())


@dataclass(slots=True, kw_only=True)
class _Unit:
    spec: UnitSpec
    behaviour: Behaviour
    status: UnitStatus
    ports: frozenset[int]
    log: list[LogLine] = field(default_factory=list)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    own_end: asyncio.TimerHandle | None = None
    left_s: float = 0.0  # until its own end, while it is frozen
    intent: Outcome = field(default_factory=Outcome)
    began: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedDriver:
    """`decide` gives each unit its behaviour when it starts; `started` lists every specification that was started."""

    def __init__(
        self,
        decide: Callable[[UnitSpec], Behaviour] = lambda _: Behaviour(),
        *,
        name: str = "scripted",
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.decide = decide
        self._available = True
        self.started: list[UnitSpec] = []
        self.discarded: list[str] = []  # volumes
        self._clock = clock or SystemClock()
        self._units: dict[UnitId, _Unit] = {}
        self._ends: list[UnitExit] = []
        self._seq = 0
        self._written_at = self._clock.now()
        self._news = asyncio.Event()

    # For tests

    @property
    def available(self) -> bool:
        """Whether the driver answers. While it does not, what it tells waits; units live on."""
        return self._available

    @available.setter
    def available(self, available: bool) -> None:
        self._available = available
        self._tell()

    @property
    def living(self) -> list[UnitSpec]:
        """What runs now, in order of start."""
        return [unit.spec for unit in self._units.values() if unit.status.state is UnitState.RUNNING]

    def finish(self, unit: UnitId, outcome: Outcome) -> None:
        """End a living unit so. A unit that has ended is left alone."""
        found = self._units.get(unit)
        if found is None or not found.status.state.alive:
            return
        for timer in [*found.timers, *([found.own_end] if found.own_end else [])]:
            timer.cancel()
        found.began.set()
        state, now = UnitState.LOST if outcome.lost else UnitState.EXITED, self._clock.now()
        found.status = replace(found.status, state=state, pid=None, ended_at=now, outcome=outcome, frozen=False)
        self._seq += 1
        self._ends.append(UnitExit(seq=self._seq, status=found.status))
        self._tell()

    def listen(self, unit: UnitId, *ports: int) -> None:
        """From now on the unit listens on exactly these ports."""
        self._units[unit].ports = frozenset(ports)

    def write(self, unit: UnitId, text: str, stream: str = "stdout") -> None:
        """The unit prints a line. No two lines have one time, whichever units print them: a clock may read the same
        twice."""
        self._written_at = max(self._clock.now(), self._written_at + timedelta(microseconds=1))
        log = self._units[unit].log
        log.append(LogLine(time=self._written_at, stream=stream, text=text, offset=len(log) + 1))

    # The contract

    async def start(self, spec: UnitSpec) -> UnitStatus:
        self._check()
        if present := self._units.get(spec.id):
            if spec.generation == present.spec.generation:
                return present.status
            if spec.generation < present.spec.generation or present.status.state.alive:
                raise Conflict(f"The unit {spec.id} is at generation {present.spec.generation}.")
            await self.forget(spec.id)
        require_alone(spec, (unit.spec for unit in self._units.values() if unit.status.state.alive))
        self.started.append(spec)
        behaviour = self.decide(spec)
        status = UnitStatus(id=spec.id, kind=spec.kind, state=UnitState.STARTING, labels=spec.labels)
        unit = _Unit(spec=spec, behaviour=behaviour, status=status, ports=behaviour.ports)
        self._units[spec.id] = unit
        if behaviour.start_s:  # it goes on whatever becomes of the caller
            unit.timers.append(asyncio.get_running_loop().call_later(behaviour.start_s, self._begin, unit))
            await unit.began.wait()
        else:
            self._begin(unit)
        return unit.status

    async def stop(self, unit: UnitId, grace_s: float) -> None:
        self._check()
        if found := self._units.get(unit):
            self._end(found, Outcome(stopped=True), grace_s)

    async def freeze(self, unit: UnitId) -> None:
        found = self._running(unit)
        if found.intent != Outcome():
            raise Conflict(f"The unit {unit} is being ended.")
        if not found.status.frozen and found.own_end is not None:
            found.left_s = max(found.own_end.when() - asyncio.get_running_loop().time(), 0.0)
            found.own_end.cancel()
        found.status = replace(found.status, frozen=True)

    async def thaw(self, unit: UnitId) -> None:
        self._thaw(self._running(unit))

    async def signal(self, unit: UnitId, number: int) -> None:
        check_signal(number)
        found = self._running(unit)
        if found.status.frozen:
            raise Conflict(f"The unit {unit} is frozen.")
        if text := found.behaviour.handles.get(number):
            self.write(unit, text)
        elif number == signal.SIGKILL or (found.behaviour.obeys and number not in _HARMLESS):
            self.finish(unit, Outcome(signal=number, reason=f"signal {number} ({signal_name(number)})"))

    def _running(self, unit: UnitId) -> _Unit:
        self._check()
        found = self._units.get(unit)
        require_running(unit, found.status if found else None)
        assert found is not None
        return found

    def _thaw(self, unit: _Unit) -> None:
        if unit.status.frozen and unit.behaviour.outcome is not None:
            unit.own_end = self._end_later(unit, unit.left_s, unit.behaviour.outcome)
        unit.status = replace(unit.status, frozen=False)

    async def status(self, unit: UnitId) -> UnitStatus | None:
        self._check()
        found = self._units.get(unit)
        return found.status if found else None

    async def units(self) -> list[UnitStatus]:
        self._check()
        return [unit.status for unit in self._units.values()]

    async def listening(self, unit: UnitId) -> frozenset[int]:
        self._check()
        found = self._units.get(unit)
        return found.ports if found and found.status.state is UnitState.RUNNING else frozenset()

    async def listening_inside(self, unit: UnitId) -> frozenset[int]:
        return frozenset()

    async def exits(self, after: int) -> AsyncIterator[UnitExit]:
        after = after if after <= self._seq else 0
        while True:
            news = self._news
            end = next((end for end in self._ends if end.seq > after), None)
            if end is None or not self._available:
                await news.wait()
            else:
                after = end.seq
                yield end

    async def log(self, unit: UnitId, offset: int, limit: int) -> list[LogLine]:
        self._check()
        found = self._units.get(unit)
        return found.log[offset : offset + limit] if found else []

    async def log_before(self, unit: UnitId, before: datetime, limit: int) -> list[LogLine]:
        self._check()
        found = self._units.get(unit)
        return [line for line in found.log if line.time < before][-limit:] if found else []

    async def forget(self, unit: UnitId) -> None:
        self._check()
        found = self._units.get(unit)
        if found and found.status.state.alive:
            raise Conflict(f"The unit {unit} is still alive.")
        self._units.pop(unit, None)
        self._ends = [end for end in self._ends if end.status.id != unit]

    async def discard_volume(self, volume: str) -> None:
        self._check()
        if any(unit.status.state.alive and unit.spec.has_volume(volume) for unit in self._units.values()):
            raise Conflict(f"A unit has the volume {volume}.")
        self.discarded.append(volume)

    async def info(self) -> dict[str, Any]:
        self._check()
        return {"sandbox": "none: nothing is a process", "freezer": "scripted"}

    async def close(self) -> None:
        """Nothing to release."""

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _check(self) -> None:
        if not self._available:
            raise DriverUnavailable

    def _begin(self, unit: _Unit) -> None:
        """It is a process from now on."""
        loop, behaviour, now = asyncio.get_running_loop(), unit.behaviour, self._clock.now()
        unit.status = replace(unit.status, state=UnitState.RUNNING, pid=len(self.started), started_at=now)
        unit.began.set()
        for line in behaviour.lines:
            self.write(unit.spec.id, line)
        if behaviour.outcome is not None:
            unit.own_end = self._end_later(unit, behaviour.after_s, behaviour.outcome)
        if unit.spec.timeout_s is not None:
            late, grace_s = Outcome(timed_out=True), min(unit.spec.stop_grace_s, TIMEOUT_GRACE_S)
            unit.timers.append(loop.call_later(unit.spec.timeout_s, self._end, unit, late, grace_s))

    def _end_later(self, unit: _Unit, after_s: float, outcome: Outcome) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(after_s, self.finish, unit.spec.id, outcome)

    def _end(self, unit: _Unit, intent: Outcome, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after the grace, as the node does."""
        if not unit.status.state.alive:
            return
        if unit.intent == Outcome():
            unit.intent = intent
        self._thaw(unit)
        if unit.behaviour.obeys:
            own = unit.behaviour.ends
            code, number = (own.exit_code, own.signal) if own else (None, 15)
            reason = f"exit code {code}" if own else "signal 15 (SIGTERM)"
            self.finish(unit.spec.id, replace(unit.intent, exit_code=code, signal=number, reason=reason))
        else:
            killed = replace(unit.intent, signal=9, reason="signal 9 (SIGKILL)")
            unit.timers.append(asyncio.get_running_loop().call_later(grace_s, self.finish, unit.spec.id, killed))
