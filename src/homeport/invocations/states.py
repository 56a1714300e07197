"""The states of asynchronous calls, their attempts and their callbacks. Drawn in `docs/states.md`."""

from enum import StrEnum


class InvocationStatus(StrEnum):
    """An asynchronous call."""

    QUEUED = "queued"  # accepted: waits for its turn, for a retry or for a replica
    RUNNING = "running"  # an attempt is under way
    SUCCEEDED = "succeeded"  # terminal: the program answered below 400
    FAILED = "failed"  # terminal: it answered otherwise, or no attempt is left
    CANCELLED = "cancelled"  # terminal: by a caller, or because its agent is gone

    @property
    def terminal(self) -> bool:
        return self not in (self.QUEUED, self.RUNNING)


class AttemptEnd(StrEnum):
    """How an attempt stands. UNREACHED is never kept: the program saw nothing of it."""

    RUNNING = "running"
    ANSWERED = "answered"  # whatever the status
    TIMED_OUT = "timed_out"  # no whole answer within the trigger's timeout
    BROKEN = "broken"  # the connection ended before the answer did
    INTERRUPTED = "interrupted"  # the edge died meanwhile; how far the program came is not known
    STOPPED = "stopped"  # Homeport was stopped meanwhile
    CANCELLED = "cancelled"  # a caller cancelled the call
    UNREACHED = "unreached"  # no replica took it


class CallbackStatus(StrEnum):
    """The result on its way to a callback URL."""

    WAITING = "waiting"  # for its turn or for a retry
    SENDING = "sending"
    DELIVERED = "delivered"  # terminal: answered 2xx
    FAILED = "failed"  # terminal: no attempt is left

    @property
    def terminal(self) -> bool:
        return self in (self.DELIVERED, self.FAILED)
