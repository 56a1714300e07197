"""One unit as the driver holds it: the present state, why it is to end, and the timers that see to it."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from homeport.core.units import Outcome, UnitSpec, UnitState, UnitStatus
from homeport.drivers.docker.containers import Facts
from homeport.drivers.docker.output import Copy
from homeport.node import ending
from homeport.node.ending import Intent


class Unit:
    """`status` is what was last seen; `container` the engine's id."""

    def __init__(self, spec: UnitSpec, accepted: datetime, container: str, folder: Path) -> None:
        self.spec = spec.without_secrets()
        self.accepted = accepted
        self.container = container
        self.status = UnitStatus(id=spec.id, kind=spec.kind, state=UnitState.STARTING, labels=spec.labels)
        self.intent: Intent | None = None
        self.grace_s = spec.stop_grace_s
        self.paused = False  # as the engine sees it, which knows nothing of what was frozen past it
        self.folder = folder
        self.copy = Copy(folder, spec.log_limit_bytes)
        self.written: Mapping[str, Path] = {}  # where it writes, as far as this machine sees that, by where it sees it
        self.peak_bytes: int | None = None
        self.copied = False  # the whole output, the unit having ended
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def lives(self) -> bool:
        return self.status.state.alive

    def runs(self, facts: Facts) -> None:
        """It was seen alive."""
        self.paused = facts.paused
        started = self.status.started_at or facts.started_at or self.accepted
        self.status = replace(
            self.status, state=UnitState.RUNNING, pid=facts.pid, address=facts.address, started_at=started
        )

    def ended(self, outcome: Outcome, at: datetime) -> UnitStatus:
        """The status with which it ends."""
        self.stop_timers()
        state = UnitState.LOST if outcome.lost else UnitState.EXITED
        started = self.status.started_at or self.accepted
        return replace(
            self.status,
            state=state,
            pid=None,
            address=None,
            frozen=False,
            started_at=started,
            ended_at=at,
            outcome=outcome,
        )

    def after(self, name: str, delay_s: float, act: Callable[[], object]) -> None:
        """Act once after so many seconds, unless the same is due earlier already."""
        loop = asyncio.get_running_loop()
        due = self._timers.get(name)
        if due is not None and not due.cancelled() and loop.time() < due.when() <= loop.time() + delay_s:
            return
        if due is not None:
            due.cancel()
        self._timers[name] = loop.call_later(max(delay_s, 0.0), act)

    def stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def outcome_of(facts: Facts, unit: Unit, last_words: str) -> Outcome:
    """How a container that is over ended. The engine writes a death by signal n as 128+n, as bubblewrap does."""
    failed = facts.error != "" and facts.started_at is None
    found = ending.outcome(
        ending.Traces(
            report={} if failed else {"exit-code": facts.exit_code},
            intent=None if failed else unit.intent,
            monitor_code=127 if failed else None,
            last_words=facts.error,
            oom_kills=int(facts.out_of_memory),
            peak_bytes=unit.peak_bytes,
            memory_mb=unit.spec.memory_mb,
            disk_mb=unit.spec.largest_file_mb,
        )
    )
    return replace(found, reason=f"{found.reason}: {last_words}") if last_words else found


def not_started(unit: Unit, why: str) -> Outcome:
    """The engine could not start the command."""
    return Outcome(
        exit_code=127,
        stopped=bool(unit.intent and unit.intent.stopped),
        reason=f"the command could not be started: {why}",
    )


def gone(unit: Unit) -> Outcome:
    """Its container was removed by somebody else: how it ended cannot be known, unless we were ending it anyway."""
    reason = "its container was removed by somebody else"
    if unit.intent is None:
        return Outcome(lost=True, reason=reason)
    intent = unit.intent
    number = int(signal.SIGKILL)
    return Outcome(signal=number, stopped=intent.stopped, timed_out=intent.timed_out, reason=reason)
