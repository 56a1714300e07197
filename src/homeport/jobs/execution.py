"""Executions: their status as a function of their counts, and how many tasks may start now.

Called by the runner after every change of a task and before every claim. It stores nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from homeport.core.ids import ExecutionId
from homeport.jobs.states import ExecutionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tasks by status. `timed_out` counts those of `failed` whose last attempt timed out; `retried` counts retries
    (not the new start of what was interrupted), which tells that something has started even while every task is pending
    again."""

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    retried: int = 0

    @property
    def open(self) -> int:
        """Tasks that have not ended."""
        return self.pending + self.running

    @property
    def started(self) -> bool:
        """Whether any task has ever started."""
        return self.running + self.succeeded + self.failed + self.retried > 0


def status_of(
    current: ExecutionStatus,
    counts: Counts,
    *,
    cancel_requested: bool,
    room: bool = True,
) -> ExecutionStatus:
    """The status that follows from the counts. A terminal status stays.

    Cancelled once cancelling and nothing is open, even if every task happened to end by itself: the caller asked for
    it and was told `cancelling`. Timeout if every failed task's last attempt timed out. QUEUED while nothing has
    started and there is no `room`. An execution without tasks has succeeded.
    """
    if current.terminal:
        return current
    if cancel_requested:
        return ExecutionStatus.CANCELLING if counts.open else ExecutionStatus.CANCELLED
    if not counts.open:
        return _ended(counts)
    if counts.started or current is ExecutionStatus.RUNNING:
        return ExecutionStatus.RUNNING
    return ExecutionStatus.PENDING if room else ExecutionStatus.QUEUED


def _ended(counts: Counts) -> ExecutionStatus:
    if counts.failed == 0:
        return ExecutionStatus.SUCCEEDED
    return ExecutionStatus.TIMEOUT if counts.timed_out == counts.failed else ExecutionStatus.FAILED


def capacity(parallelism: int, running: int, machine_free: int) -> int:
    """How many more tasks of one execution may start: within its own limit and what the machine has left."""
    return max(0, min(parallelism - running, machine_free))


class Waiting(Protocol):
    """What sharing looks at in an execution; the store's record is one."""

    @property
    def id(self) -> ExecutionId: ...

    @property
    def parallelism(self) -> int: ...

    @property
    def running(self) -> int: ...

    @property
    def pending(self) -> int: ...


def shares(executions: Sequence[Waiting], free: int) -> list[tuple[ExecutionId, int]]:
    """How many tasks of each execution start now, for those that may start any; `executions` oldest first.

    One place at a time goes to whoever has the fewest tasks running, the oldest on a tie, so that an execution of a
    million tasks does not keep the next one waiting. Never more in all than `free`, nor more of one than its
    parallelism allows. A pending task may still wait for its retry; its place then stays empty until the next pass.
    """
    limits = [min(one.pending, capacity(one.parallelism, one.running, free)) for one in executions]
    granted = [0] * len(executions)
    for _ in range(free):
        waiting = [place for place, limit in enumerate(limits) if granted[place] < limit]
        if not waiting:
            break
        granted[min(waiting, key=lambda place: (executions[place].running + granted[place], place))] += 1
    return [(one.id, count) for one, count in zip(executions, granted, strict=True) if count]
