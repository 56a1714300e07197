"""The states of executions, tasks and attempts. Drawn in `docs/states.md`."""

from enum import StrEnum


class ExecutionStatus(StrEnum):
    """The contract's execution status (public API reference)."""

    QUEUED = "queued"  # accepted, waits for room
    PENDING = "pending"  # accepted, its first task has not started
    RUNNING = "running"  # at least one task has started
    CANCELLING = "cancelling"  # nothing new starts, running tasks finish
    CANCELLED = "cancelled"  # terminal
    SUCCEEDED = "succeeded"  # terminal: every task succeeded
    FAILED = "failed"  # terminal: at least one task failed
    TIMEOUT = "timeout"  # terminal: a task failed and every failure was a timeout

    @property
    def terminal(self) -> bool:
        return self in (self.CANCELLED, self.SUCCEEDED, self.FAILED, self.TIMEOUT)


class TaskStatus(StrEnum):
    """The contract's task status; `unspecified` and `reconciling` are never set."""

    PENDING = "pending"  # waits for its first start or for a retry
    RUNNING = "running"  # claimed: an attempt is under way
    SUCCEEDED = "succeeded"  # terminal
    FAILED = "failed"  # terminal: no retry is left
    CANCELLED = "cancelled"  # terminal: its execution was cancelled first

    @property
    def terminal(self) -> bool:
        return self in (self.SUCCEEDED, self.FAILED, self.CANCELLED)


class AttemptState(StrEnum):
    """STARTING: durable, its unit may or may not exist. RUNNING: its unit exists. The others are how it ended; STOPPED:
    by Homeport, which was stopped itself or cancelled its execution at once, so through no fault of the program."""

    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    STOPPED = "stopped"

    @property
    def open(self) -> bool:
        return self in (self.STARTING, self.RUNNING)
