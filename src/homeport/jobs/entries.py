"""What is logged of an execution, and what is stored of it: the values that `homeport.jobs.history` compares.

The store writes an entry in the commit of each change, and reads both back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from homeport.jobs.execution import Counts
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus


class EntryKind(StrEnum):
    """What an entry says. Each names the fields of `Entry` that it has besides `seq`, `at` and `kind`."""

    BEFORE = "before"  # the execution is older than the log: what happened up to here is not known
    ACCEPTED = "accepted"  # it is visible, with `amount` tasks that wait
    CLAIMED = "claimed"  # attempt `number` of task `index` is durable; only from now on its process may start
    STARTED = "started"  # that attempt's process is there
    ENDED = "ended"  # it ended as `attempt` with `code`, and its task is `task` now, not to start again before `due`
    STATUS = "status"  # the execution is `status` now
    CANCELLED = "cancelled"  # the `amount` tasks that waited are cancelled
    STOP_ASKED = "stop-asked"  # what runs shall be stopped, and killed after `amount` seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change. `seq` counts from 1 in each execution, without a gap. `code` is an exit code, or a signal's number
    below zero."""

    seq: int
    at: datetime
    kind: EntryKind
    index: int | None = None
    number: int | None = None
    attempt: AttemptState | None = None
    task: TaskStatus | None = None
    status: ExecutionStatus | None = None
    code: int | None = None
    amount: int | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """What is stored of a task; `attempts` in order of their number."""

    index: int
    status: TaskStatus
    attempts: tuple[AttemptState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored of an execution, read together with its entries. `tasks` in order of their index."""

    status: ExecutionStatus
    parallelism: int
    max_retries: int
    total: int
    counts: Counts
    lost: int
    tasks: Iterable[StoredTask]
