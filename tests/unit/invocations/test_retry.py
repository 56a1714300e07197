"""The retry rules of asynchronous calls and of callbacks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.invocations.retry import (
    CALLBACK_ATTEMPTS,
    FURTHEST,
    AttemptResult,
    CallRule,
    NextCall,
    after_call,
    after_callback,
)
from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RULE = CallRule(retries=2, timeout_s=60, wait_s=3600)


def follow(end: AttemptEnd, status: int | None = None, counted: int = 0, age_s: float = 0) -> NextCall:
    accepted = NOW - timedelta(seconds=age_s)
    return after_call(AttemptResult(end=end, status=status), counted, RULE, accepted, NOW, 0.5)


@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_answer_below_400_succeeds(status: int) -> None:
    assert follow(AttemptEnd.ANSWERED, status).status is InvocationStatus.SUCCEEDED


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
def test_what_the_caller_did_wrong_fails_at_once(status: int) -> None:
    found = follow(AttemptEnd.ANSWERED, status)
    assert (found.status, found.message) == (InvocationStatus.FAILED, f"answered {status}")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        *((AttemptEnd.ANSWERED, status) for status in (408, 429, 500, 503)),
        *((end, None) for end in (AttemptEnd.TIMED_OUT, AttemptEnd.BROKEN, AttemptEnd.INTERRUPTED)),
    ],
)
def test_what_another_attempt_may_mend_is_tried_as_often_as_retry_says(end: AttemptEnd, status: int | None) -> None:
    for counted in (0, 1):
        again = follow(end, status, counted)
        assert (again.status, again.counts) == (InvocationStatus.QUEUED, True)
        assert again.not_before is not None and again.not_before > NOW
    last = follow(end, status, 2)
    assert last.status is InvocationStatus.FAILED
    assert last.message.endswith("after 3 attempts")


def test_what_a_stop_cut_off_begins_again_and_does_not_count() -> None:
    found = follow(AttemptEnd.STOPPED, counted=2)
    assert (found.status, found.counts, found.not_before) == (InvocationStatus.QUEUED, False, NOW)


def test_what_no_replica_took_waits_without_counting_and_not_for_ever() -> None:
    waiting = follow(AttemptEnd.UNREACHED, counted=2, age_s=3599)
    assert (waiting.status, waiting.counts) == (InvocationStatus.QUEUED, False)
    over = follow(AttemptEnd.UNREACHED, counted=2, age_s=3600)
    assert (over.status, over.message) == (InvocationStatus.FAILED, "no replica took it, for 3600 s")


def test_what_was_cancelled_is_not_tried_again() -> None:
    assert follow(AttemptEnd.CANCELLED).status is InvocationStatus.CANCELLED


@given(attempts=st.integers(1, 100), jitter=st.floats(0, 1, exclude_max=True), status=st.none() | st.integers(300, 599))
def test_a_callback_ends_after_a_bounded_number_of_attempts(attempts: int, jitter: float, status: int | None) -> None:
    found = after_callback(status, "refused", attempts, NOW, jitter)
    assert (found.status is CallbackStatus.FAILED) == (attempts >= CALLBACK_ATTEMPTS)
    if found.not_before is not None:
        assert timedelta(0) < found.not_before - NOW <= FURTHEST


def test_only_2xx_delivers_a_callback() -> None:
    delivered = {status: after_callback(status, "", 1, NOW, 0).status for status in (200, 204, 302, 410, 500)}
    assert [status for status, found in delivered.items() if found is CallbackStatus.DELIVERED] == [200, 204]
