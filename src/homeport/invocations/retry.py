"""The retry rules of asynchronous calls and of callbacks: how an attempt ended → what becomes of it, and when.

A retry follows what another attempt may mend: a connection that ended early, a timeout, an answer from 500 on, 429 and
408. Any other answer below 500 is the program's word and ends the call. What no replica took was never begun: it
counts as no attempt and waits, for `wait_s` after its acceptance at most. An attempt that the edge's death cut off
counts, since nobody knows how far the program came; one that a stop of Homeport cut off does not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus
from homeport.jobs.retry import backoff_s

UNREACHED_S = 2.0
_AGAIN = frozenset({408, 429})
# Receivers are deployed, and break, like everything else: the waits grow to an hour, and twelve attempts take about
# two hours and a half.
CALLBACK_ATTEMPTS = 12
CALLBACK_BASE_S = 5.0
CALLBACK_CAP_S = 3600.0
FURTHEST = timedelta(seconds=CALLBACK_CAP_S)  # no wait is longer: a moment beyond it was written by another clock


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRule:
    """What a call was accepted with. `wait_s`: how long after its acceptance it may still wait for a replica."""

    retries: int
    timeout_s: int
    wait_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended. `status` is the answer's, None where there is none; `reason` says more, for people."""

    end: AttemptEnd
    status: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCall:
    """What becomes of a call. `counts`: against its retries. `not_before` is set where it is QUEUED again."""

    status: InvocationStatus
    counts: bool
    not_before: datetime | None
    message: str


def after_call(
    result: AttemptResult,
    counted: int,
    rule: CallRule,
    accepted_at: datetime,
    now: datetime,
    jitter: float,
) -> NextCall:
    """What follows an attempt that ended with `result`; `counted` attempts counted before it. `jitter` is from 0 up
    to 1."""
    message = describe(result, rule.timeout_s)
    if result.end is AttemptEnd.CANCELLED:
        return _ended(InvocationStatus.CANCELLED, message)
    if result.end is AttemptEnd.STOPPED:
        return NextCall(status=InvocationStatus.QUEUED, counts=False, not_before=now, message=message)
    if result.end is AttemptEnd.UNREACHED:
        return _unreached(message, rule, accepted_at, now, jitter)
    if not may_repeat(result):
        good = result.status is not None and result.status < 400
        return _ended(InvocationStatus.SUCCEEDED if good else InvocationStatus.FAILED, "" if good else message)
    if counted >= rule.retries:
        tried = "" if rule.retries == 0 else f", after {counted + 1} attempts"
        return _ended(InvocationStatus.FAILED, message + tried)
    not_before = now + timedelta(seconds=backoff_s(counted + 1, jitter))
    return NextCall(status=InvocationStatus.QUEUED, counts=True, not_before=not_before, message=message)


def may_repeat(result: AttemptResult) -> bool:
    """Whether another attempt may mend it."""
    if result.end is not AttemptEnd.ANSWERED or result.status is None:
        return True
    return result.status >= 500 or result.status in _AGAIN


def describe(result: AttemptResult, timeout_s: int) -> str:
    """How an attempt ended, for people."""
    words = {
        AttemptEnd.ANSWERED: f"answered {result.status}",
        AttemptEnd.TIMED_OUT: f"timed out after {timeout_s} s",
        AttemptEnd.BROKEN: "the connection ended before the answer did",
        AttemptEnd.INTERRUPTED: "interrupted: the edge process ended meanwhile",
        AttemptEnd.STOPPED: "stopped with Homeport",
        AttemptEnd.CANCELLED: "cancelled",
        AttemptEnd.UNREACHED: "no replica took it",
    }[result.end]
    return f"{words}: {result.reason}" if result.reason else words


def _unreached(message: str, rule: CallRule, accepted_at: datetime, now: datetime, jitter: float) -> NextCall:
    waited_s = (now - accepted_at).total_seconds()
    if waited_s >= rule.wait_s:
        return _ended(InvocationStatus.FAILED, f"{message}, for {rule.wait_s} s", counts=False)
    # A cold start is soon over; of an agent that stays away one call at a time is tried.
    pause_s = (0.5 + jitter / 2) * UNREACHED_S
    return NextCall(
        status=InvocationStatus.QUEUED, counts=False, not_before=now + timedelta(seconds=pause_s), message=message
    )


def _ended(status: InvocationStatus, message: str, *, counts: bool = True) -> NextCall:
    return NextCall(status=status, counts=counts, not_before=None, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCallback:
    """What becomes of a callback."""

    status: CallbackStatus
    not_before: datetime | None
    message: str


def after_callback(status: int | None, reason: str, attempts: int, now: datetime, jitter: float) -> NextCallback:
    """What follows the `attempts`-th attempt, answered with `status`, or not at all for `reason`. Only 2xx delivers:
    redirects are not followed."""
    if status is not None and 200 <= status < 300:
        return NextCallback(status=CallbackStatus.DELIVERED, not_before=None, message="")
    message = f"answered {status}" if status is not None else reason
    if attempts >= CALLBACK_ATTEMPTS:
        return NextCallback(status=CallbackStatus.FAILED, not_before=None, message=message)
    pause_s = (0.5 + jitter / 2) * min(CALLBACK_CAP_S, CALLBACK_BASE_S * 2.0 ** (attempts - 1))
    return NextCallback(status=CallbackStatus.WAITING, not_before=now + timedelta(seconds=pause_s), message=message)
