"""Which faults come when: drawn from a seed, before anything runs, so that a run can be repeated.

Pure. What happens between the faults is up to the machine, so a repetition is one of the schedule, not of every
interleaving.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from homeport.testing.system import COMPONENTS

UP = "up"
_CLOCK_STEPS_S = (-86_400.0, -3_600.0, -90.0, 90.0, 3_600.0, 86_400.0)


class FaultKind(StrEnum):
    KILL = "kill"  # SIGKILL of a component
    TAKEOVER = "takeover"  # SIGKILL of `homeport up`, then a new one
    PAUSE = "pause"  # SIGSTOP, after a while SIGCONT
    DISK = "disk full"  # the data directory's file system, freed after a while
    CLOCK = "clock step"  # of Homeport's own processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """at_s: since the begin. length_s: of pauses and full disks. step_s: how far ahead the clock is from then on."""

    at_s: float
    kind: FaultKind
    target: str = ""
    length_s: float = 0.0
    step_s: float = 0.0

    def __str__(self) -> str:
        words = [str(self.kind), self.target]
        words += [f"{self.length_s:.1f} s"] if self.length_s else []
        words += [f"{self.step_s:+.0f} s"] if self.kind is FaultKind.CLOCK else []
        return " ".join(word for word in words if word)


def draw(seed: int, length_s: float, kinds: Collection[FaultKind]) -> list[Fault]:
    """Faults for `length_s` seconds: first one of each in random order, then at random. A pause or a full disk may last
    into the faults that follow, so that two things are wrong at once."""
    random = Random(seed)
    menu = [choice for choice in _menu() if choice[0] in kinds]
    waiting = random.sample(menu, len(menu))
    faults: list[Fault] = []
    at_s = random.uniform(0.5, 1.5)
    # Short runs pack every fault in; long ones leave time to recover between some of them.
    longest_gap_s = min(8.0, max(1.2, 1.5 * length_s / (len(menu) + 1)))
    while at_s < length_s:
        kind, target = waiting.pop() if waiting else random.choice(menu)
        faults.append(_fault(random, at_s, kind, target))
        at_s += random.uniform(0.3, longest_gap_s)
    return faults


def _menu() -> list[tuple[FaultKind, str]]:
    kills = [(FaultKind.KILL, name) for name in COMPONENTS]
    pauses = [(FaultKind.PAUSE, name) for name in (*COMPONENTS, UP)]
    return [*kills, *pauses, (FaultKind.TAKEOVER, UP), (FaultKind.DISK, ""), (FaultKind.CLOCK, "")]


def _fault(random: Random, at_s: float, kind: FaultKind, target: str) -> Fault:
    length_s = {FaultKind.PAUSE: random.uniform(0.5, 4.0), FaultKind.DISK: random.uniform(2.0, 6.0)}.get(kind, 0.0)
    step_s = random.choice(_CLOCK_STEPS_S) if kind is FaultKind.CLOCK else 0.0
    return Fault(at_s=at_s, kind=kind, target=target, length_s=length_s, step_s=step_s)
