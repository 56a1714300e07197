"""The account: every request that was started is counted once, as ok, as failed or as abandoned.

`Tally` is written by the run alone; `Report` is what a reader gets.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FAILURES_KEPT = 10_000  # with their time and cause; all are counted
_SUB_BITS = 7  # a bucket is at most 1/128 wide: latencies are right to 0.8 %


class Cause(StrEnum):
    """Why a request failed."""

    REFUSED = "refused"  # nothing listened
    UNREACHABLE = "unreachable"  # no connection came about, for another reason
    RESET = "reset"  # the connection ended before the answer's head was whole
    CUT = "cut"  # the connection ended in the middle of the answer's body
    TIMEOUT = "timeout"  # silent for too long
    STATUS = "status"  # answered 400 or above
    WRONG = "wrong"  # not the bytes that were expected
    INVALID = "invalid"  # not HTTP/1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one request ended. due_s, ended_s: on the loop's clock. status: 0 without an answer. cause: None when it was
    right. pieces: HTTP chunks, or pieces as they came where there are no chunks."""

    due_s: float
    ended_s: float
    status: int = 0
    cause: Cause | None = None
    detail: str = ""
    size: int = 0
    pieces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """began_s, ended_s: seconds since the run began."""

    began_s: float
    ended_s: float
    cause: Cause
    detail: str

    def __str__(self) -> str:
        return f"{self.began_s:.2f}-{self.ended_s:.2f} s: {self.cause}: {self.detail}"


class Latencies:
    """Times in buckets whose width grows with the value, so that their number is bounded."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._least_us: int | None = None
        self._most_us = 0

    def add(self, seconds: float) -> None:
        us = max(0, int(seconds * 1e6))
        shift = max(0, us.bit_length() - _SUB_BITS - 1)
        self._counts[(us >> shift) << shift] += 1
        self._most_us = max(self._most_us, us)
        if self._least_us is None or us < self._least_us:
            self._least_us = us

    def ms(self) -> dict[str, float]:
        """min, p50, p90, p99 and max in milliseconds; empty when nothing was counted."""
        if self._least_us is None:
            return {}
        ordered = sorted(self._counts.items())
        total = sum(self._counts.values())
        found = {"min": self._least_us / 1000}
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            found[name] = max(self._least_us, _at(ordered, share * total)) / 1000
        return {**found, "max": self._most_us / 1000}


def _at(ordered: list[tuple[int, int]], rank: float) -> int:
    seen = 0
    for value, count in ordered:
        seen += count
        if seen >= rank:
            return value
    return ordered[-1][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run has counted. started = ok + failed + abandoned + in_flight, and in_flight is 0 once it has ended.

    began_s: when the run began, on the monotonic clock. abandoned: in flight when the run stopped waiting for them.
    unsent: due by the rate that was asked for, and never sent. longest_gap_s: the longest time without a right answer,
    which began gap_began_s after the start. busy: the share of one core that this tool itself used.
    """

    began_s: float
    elapsed_s: float
    started: int
    ok: int
    failed: int
    abandoned: int
    in_flight: int
    unsent: int
    connections: int
    statuses: Mapping[int, int]
    causes: Mapping[Cause, int]
    failures: tuple[Failure, ...]
    latency_ms: Mapping[str, float]
    received_bytes: int
    pieces: int
    longest_gap_s: float
    gap_began_s: float
    busy: float

    @property
    def sound(self) -> bool:
        """Whether every request that was due was sent and answered rightly."""
        return not (self.failed or self.abandoned or self.unsent) and self.ok > 0

    @property
    def rps(self) -> float:
        return self.ok / self.elapsed_s if self.elapsed_s else 0.0

    def __str__(self) -> str:
        """For a test that says why it failed."""
        causes = ", ".join(f"{cause} {count}" for cause, count in self.causes.items())
        head = f"{self.started} started: {self.ok} ok, {self.failed} failed ({causes}), {self.abandoned} abandoned"
        return "\n".join([f"{head}, {self.unsent} unsent", *map(str, self.failures[:10])])

    def to_json(self) -> dict[str, Any]:
        return {
            "elapsedSeconds": round(self.elapsed_s, 3),
            "started": self.started,
            "ok": self.ok,
            "failed": self.failed,
            "abandoned": self.abandoned,
            "unsent": self.unsent,
            "connections": self.connections,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "causes": {str(cause): count for cause, count in self.causes.items()},
            "latencyMilliseconds": {name: round(value, 3) for name, value in self.latency_ms.items()},
            "requestsPerSecond": round(self.rps, 2),
            "receivedBytes": self.received_bytes,
            "chunks": self.pieces,
            "longestGapSeconds": round(self.longest_gap_s, 3),
            "gapBeganSeconds": round(self.gap_began_s, 3),
            "ownCoreShare": round(self.busy, 3),
            "failures": [
                {
                    "beganSeconds": round(one.began_s, 3),
                    "endedSeconds": round(one.ended_s, 3),
                    "cause": str(one.cause),
                    "detail": one.detail,
                }
                for one in self.failures
            ],
        }


class Tally:
    """Counts as requests begin and end. Times are of one clock, `began_s` the moment when the run began on it."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.started = 0
        self.ok = 0
        self.failed = 0
        self.abandoned = 0
        self.unsent = 0
        self.connections = 0
        self._statuses: Counter[int] = Counter()
        self._causes: Counter[Cause] = Counter()
        self._failures: list[Failure] = []
        self._latencies = Latencies()
        self._bytes = 0
        self._pieces = 0
        self._last_ok_s = began_s
        self._gap = (0.0, began_s)

    def ended(self, outcome: Outcome) -> None:
        self._bytes += outcome.size
        self._pieces += outcome.pieces
        if outcome.status:
            self._statuses[outcome.status] += 1
        if outcome.cause is None:
            self.ok += 1
            self._latencies.add(outcome.ended_s - outcome.due_s)
            self._gap = max(self._gap, (outcome.ended_s - self._last_ok_s, self._last_ok_s))
            self._last_ok_s = outcome.ended_s
        else:
            self.failed += 1
            self._causes[outcome.cause] += 1
            if len(self._failures) < FAILURES_KEPT:
                self._failures.append(self._failure(outcome, outcome.cause))

    def _failure(self, outcome: Outcome, cause: Cause) -> Failure:
        return Failure(
            began_s=outcome.due_s - self.began_s,
            ended_s=outcome.ended_s - self.began_s,
            cause=cause,
            detail=outcome.detail,
        )

    def report(self, now_s: float, busy_s: float) -> Report:
        """What has been counted until now. busy_s: seconds of a core that the run has used."""
        gap_s, gap_from_s = max(self._gap, (now_s - self._last_ok_s, self._last_ok_s))
        elapsed_s = now_s - self.began_s
        return Report(
            began_s=self.began_s,
            elapsed_s=elapsed_s,
            started=self.started,
            ok=self.ok,
            failed=self.failed,
            abandoned=self.abandoned,
            in_flight=self.started - self.ok - self.failed - self.abandoned,
            unsent=self.unsent,
            connections=self.connections,
            statuses=dict(self._statuses),
            causes=dict(self._causes),
            failures=tuple(self._failures),
            latency_ms=self._latencies.ms(),
            received_bytes=self._bytes,
            pieces=self._pieces,
            longest_gap_s=gap_s,
            gap_began_s=gap_from_s - self.began_s,
            busy=busy_s / elapsed_s if elapsed_s else 0.0,
        )
