"""What a scenario hands back: figures round by round, and whether they may be believed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")
CEILING_MARGIN = 2.0  # what measures must manage at least this many times what is measured


class Refused(Exception):
    """The figures would say more about the tools or the machine than about Homeport, so there are none. Says why."""


def turned(cases: Iterable[T], number: int) -> list[T]:
    """The cases of a round, begun with another one each time."""
    known = [*cases]
    first = number % len(known)
    return known[first:] + known[:first]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quantity, measured once in each round. Its median is held against `most` and `least`, where given."""

    name: str
    unit: str
    rounds: Sequence[float]
    most: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the median is within the bound; None without one."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.median <= self.most) and (self.least is None or self.median >= self.least)

    @property
    def bound(self) -> str:
        if self.most is not None:
            return f"≤ {self.most:g}"
        return f"≥ {self.least:g}" if self.least is not None else ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.rounds),
            "max": max(self.rounds),
            "rounds": [*self.rounds],
            "bound": self.bound,
            "met": self.met,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A scenario's figures, with what a reader must know of them."""

    figures: list[Figure]
    notes: list[str] = field(default_factory=list)


def demand_margin(what: str, ceiling: float, measured: float, unit: str) -> str:
    """The sentence that says how far away a ceiling is. Raises `Refused` when it is nearer than `CEILING_MARGIN`."""
    times = ceiling / measured
    said = f"{what} manages {ceiling:,.0f} {unit}, {times:.1f} times the {measured:,.0f} measured"
    if times < CEILING_MARGIN:
        raise Refused(f"{said}; at least {CEILING_MARGIN:g} times are asked for")
    return said
