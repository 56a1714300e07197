"""Counters that are made of what the store holds: events, and executions that ended. Part of the context.

They begin with the server at zero and are brought up to date when somebody asks: what is in the store once is counted
once, whoever wrote it, and a change that was undone never. What was pruned before anybody asked is not counted.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from homeport.core.ids import ExecutionId
from homeport.store.contract import Transaction
from homeport.store.records import EventQuery, Execution

EVENTS_A_READ = 5000
LATE = timedelta(seconds=60)  # a commit may be this much later than the moment that is written in it
DURATIONS_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


@dataclass(slots=True)
class Durations:
    """A histogram: counts by upper bound, not cumulated; the last is for what is longer than all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATIONS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        place = next((place for place, bound in enumerate(DURATIONS_S) if seconds <= bound), len(DURATIONS_S))
        self.counts[place] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Scrapes:
    """`turn` is held by whoever gathers metrics; `told` is what was answered, when, for which workspace (None: all)."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    told: dict[str | None, tuple[float, bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class Tallies:
    """`events` by workspace, kind and reason; `executions` by workspace and status; `tasks` by workspace and how they
    ended, attempts that were repeated or lost besides; `durations` of executions by workspace."""

    events: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    executions: Counter[tuple[str, str]] = field(default_factory=Counter)
    tasks: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: dict[str, Durations] = field(default_factory=dict)
    _number: int | None = None
    _since: datetime | None = None
    _counted: dict[ExecutionId, datetime] = field(default_factory=dict)

    def begin(self, tx: Transaction, now: datetime) -> None:
        """Count from here on."""
        self._number, self._since = tx.events.newest(), now
        self._counted = {one.id: now for one in tx.executions.completed_since(now - LATE)}

    def follow(self, tx: Transaction, now: datetime) -> None:
        """Count what came since. A reader's transaction will do."""
        if self._number is None or self._since is None:
            self.begin(tx, now)
            return
        while found := tx.events.find(EventQuery(limit=EVENTS_A_READ, after=self._number)):
            for one in found:
                self.events[one.workspace, one.kind.value, one.event.reason or "Other"] += 1
            self._number = found[-1].number
        self._count(tx.executions.completed_since(self._since - LATE))
        self._since = max(self._since, now)
        old = self._since - 2 * LATE
        self._counted = {known: ended for known, ended in self._counted.items() if ended > old}

    def _count(self, ended: Iterable[Execution]) -> None:
        for one in ended:
            if one.id in self._counted or one.completed_at is None:
                continue
            self._counted[one.id] = one.completed_at
            self.executions[one.workspace, one.status.value] += 1
            for word, count in (
                ("succeeded", one.succeeded),
                ("failed", one.failed),
                ("cancelled", one.cancelled),
                ("timed_out", one.timed_out),
                ("retried", one.retried),
                ("lost", one.lost),
            ):
                self.tasks[one.workspace, word] += count
            seconds = (one.completed_at - (one.started_at or one.created_at)).total_seconds()
            self.durations.setdefault(one.workspace, Durations()).add(max(0.0, seconds))
