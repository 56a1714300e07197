"""The retry rule: how one attempt ended → what becomes of its task, and when.

Called by the runner once an attempt's outcome is durable. It waits for nothing and starts nothing. Every ended
attempt counts, a lost one too: nobody can know how much of its work it did, and a limit that only counts what was
seen to fail is no limit. The one exception is an attempt that Homeport ended because it was stopped itself: it counts
against nothing, and its task starts again at once. So a task starts at most 1 + maxRetries times, and once more for
each time that Homeport was stopped while it ran.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from homeport.core.units import Outcome, signal_name
from homeport.jobs.states import AttemptState, TaskStatus

# The wait before retry n (from 1) is drawn evenly from 0 to min(60, 2^(n-1)) seconds: a task that failed by accident
# is back at once, a service that is down is not hit by a thousand tasks in the same second, nothing waits longer
# than a person would.
BACKOFF_BASE_S = 1.0
BACKOFF_FACTOR = 2.0
BACKOFF_CAP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRule:
    """What an execution says of each of its attempts. `timeout_s` and `memory_mb` are for the words only; the unit
    enforces them."""

    max_retries: int
    timeout_s: int
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What becomes of a task: `task_status` is SUCCEEDED, FAILED, CANCELLED or, for a retry at `not_before`, PENDING.
    `message` says how the attempt ended, for people; empty after success."""

    task_status: TaskStatus
    attempt_state: AttemptState
    not_before: datetime | None
    message: str


def after_attempt(
    outcome: Outcome,
    attempts: int,
    rule: AttemptRule,
    now: datetime,
    jitter: float,
    cancelling: bool = False,
) -> Next:
    """What follows an attempt that ended with `outcome`; `attempts` of its task count so far, this one included.

    `jitter` is from 0 up to 1 (`jitter_of` gives a repeatable one). A success counts even while the execution is
    `cancelling`; a failure is then not tried again and its task is CANCELLED, since it was not allowed its retries. So
    is the task of an attempt that was stopped to cancel it at once.
    """
    state = attempt_state(outcome)
    if state is AttemptState.SUCCEEDED:
        return Next(task_status=TaskStatus.SUCCEEDED, attempt_state=state, not_before=None, message="")
    message = describe(outcome, rule)
    interrupted = state is AttemptState.STOPPED
    if interrupted and not cancelling:
        # Homeport itself was stopped: no fault of the task's, so it never ends by that, and waits for nothing.
        return Next(task_status=TaskStatus.PENDING, attempt_state=state, not_before=now, message=message)
    if attempts > rule.max_retries and not interrupted:
        return Next(task_status=TaskStatus.FAILED, attempt_state=state, not_before=None, message=message)
    if cancelling:
        return Next(task_status=TaskStatus.CANCELLED, attempt_state=state, not_before=None, message=message)
    not_before = now + timedelta(seconds=backoff_s(attempts, jitter))
    return Next(task_status=TaskStatus.PENDING, attempt_state=state, not_before=not_before, message=message)


def attempt_state(outcome: Outcome) -> AttemptState:
    """How an ended attempt is recorded."""
    if outcome.succeeded:
        return AttemptState.SUCCEEDED
    if outcome.lost:
        return AttemptState.LOST
    if outcome.timed_out:
        return AttemptState.TIMED_OUT
    return AttemptState.STOPPED if outcome.stopped else AttemptState.FAILED


def backoff_s(attempts: int, jitter: float) -> float:
    """Seconds before the retry that follows the `attempts`-th attempt that counts."""
    exponent = min(attempts - 1, 30)  # the cap is reached at 6; without this a large number overflows
    return jitter * min(BACKOFF_CAP_S, BACKOFF_BASE_S * BACKOFF_FACTOR**exponent)


def jitter_of(seed: str) -> float:
    """A number from 0 up to 1 that `seed`, such as the attempt's unit id, always gives again."""
    return random.Random(seed).random()


def describe(outcome: Outcome, rule: AttemptRule) -> str:
    """How an attempt ended, for people: `exit code 3`, `timed out after 60 s`, `killed by SIGKILL`. Empty for a
    success. The outcome's own reason follows where it adds something."""
    what = _what(outcome, rule)
    if outcome.reason and outcome.reason not in what:
        return f"{what}: {outcome.reason}" if what else outcome.reason
    return what


def _what(outcome: Outcome, rule: AttemptRule) -> str:
    if outcome.succeeded:
        return ""
    if outcome.lost:
        return "lost: how it ended cannot be known"
    if outcome.timed_out:
        return f"timed out after {rule.timeout_s} s"
    if outcome.out_of_memory:
        return f"out of memory (limit {rule.memory_mb} MB)"
    if outcome.signal is not None:
        how = f"killed by {signal_name(outcome.signal)}"
    elif outcome.exit_code is not None:
        how = f"exit code {outcome.exit_code}"
    else:  # it never became a process; the reason, which follows, says why
        return "" if outcome.reason else "ended without a reason"
    return f"stopped ({how})" if outcome.stopped else how
