"""The machine that is simulated: its two clocks, its chance, and the record of what happened on it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from homeport.testing.factories import NOON
from homeport.testing.simulation.scenario import FaultKind


class Clock:
    """Monotonic time is the loop's. Wall time is NOON and the loop's, and jumps with `step`."""

    def __init__(self) -> None:
        self.stepped = timedelta()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.monotonic()) + self.stepped

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def step(self, seconds: float) -> None:
        self.stepped += timedelta(seconds=seconds)


@dataclass(slots=True, kw_only=True)
class Machine:
    """`until` says how long each fault is at work; `trace` tells what happened, a line each; `found` what must not have
    happened, in the order of its finding."""

    seed: int
    clock: Clock = field(default_factory=Clock)
    until: dict[FaultKind, float] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def chance(self, of: str) -> Random:
        """The chance of one thing: what it draws depends on nothing but the seed and its name."""
        return Random(f"{self.seed} {of}")

    def active(self, kind: FaultKind) -> bool:
        """Whether this fault is at work now."""
        return self.until.get(kind, 0.0) > self.clock.monotonic() + 1e-6

    def note(self, text: str) -> None:
        self.trace.append(f"{self.clock.monotonic():10.3f}  {text}")

    def violated(self, text: str) -> None:
        """Note a violation. It is not raised, since the loops guard themselves against whatever a pass raises."""
        self.found.append(text)
        self.note(f"VIOLATION: {text}")
