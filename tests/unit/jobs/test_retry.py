"""The retry rule: every ended attempt counts, and its end is said in words."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.units import Outcome
from homeport.jobs.retry import BACKOFF_CAP_S, AttemptRule, after_attempt, backoff_s, describe, jitter_of
from homeport.jobs.states import AttemptState, TaskStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = AttemptRule(max_retries=2, timeout_s=60, memory_mb=2048)
FAILURES = [
    (Outcome(exit_code=3), AttemptState.FAILED, "exit code 3"),
    (Outcome(signal=9), AttemptState.FAILED, "killed by SIGKILL"),
    (Outcome(signal=200), AttemptState.FAILED, "killed by signal 200"),
    (Outcome(signal=15, timed_out=True), AttemptState.TIMED_OUT, "timed out after 60 s"),
    (Outcome(exit_code=0, timed_out=True), AttemptState.TIMED_OUT, "timed out after 60 s"),
    (Outcome(signal=9, out_of_memory=True), AttemptState.FAILED, "out of memory (limit 2048 MB)"),
    (Outcome(lost=True), AttemptState.LOST, "lost: how it ended cannot be known"),
    (Outcome(exit_code=127, reason="python: not found"), AttemptState.FAILED, "exit code 127: python: not found"),
    (Outcome(reason="could not start: no bundle"), AttemptState.FAILED, "could not start: no bundle"),
]


@pytest.mark.parametrize(("outcome", "state", "message"), FAILURES)
def test_a_failure_is_described_and_tried_again(outcome: Outcome, state: AttemptState, message: str) -> None:
    verdict = after_attempt(outcome, 1, RULE, NOW, 0.5)
    assert (verdict.attempt_state, verdict.message) == (state, message)
    assert (verdict.task_status, verdict.not_before) == (TaskStatus.PENDING, NOW + timedelta(seconds=0.5))


@pytest.mark.parametrize(("outcome", "state", "message"), FAILURES)
def test_the_last_attempt_fails_the_task(outcome: Outcome, state: AttemptState, message: str) -> None:
    verdict = after_attempt(outcome, 3, RULE, NOW, 0.5)
    assert (verdict.task_status, verdict.not_before, verdict.attempt_state) == (TaskStatus.FAILED, None, state)


def test_a_success_ends_the_task_whatever_came_before() -> None:
    for cancelling in (False, True):
        verdict = after_attempt(Outcome(exit_code=0), 3, RULE, NOW, 0.9, cancelling)
        assert (verdict.task_status, verdict.attempt_state) == (TaskStatus.SUCCEEDED, AttemptState.SUCCEEDED)
        assert verdict.message == ""


def test_a_failure_while_cancelling_is_not_tried_again() -> None:
    assert after_attempt(Outcome(exit_code=1), 1, RULE, NOW, 0.5, True).task_status is TaskStatus.CANCELLED
    assert after_attempt(Outcome(exit_code=1), 3, RULE, NOW, 0.5, True).task_status is TaskStatus.FAILED


@pytest.mark.parametrize("attempts", [1, 3, 50])
def test_a_task_never_ends_because_homeport_was_stopped(attempts: int) -> None:
    verdict = after_attempt(Outcome(signal=15, stopped=True), attempts, RULE, NOW, 0.5)
    assert (verdict.task_status, verdict.not_before) == (TaskStatus.PENDING, NOW)
    assert (verdict.attempt_state, verdict.message) == (AttemptState.STOPPED, "stopped (killed by SIGTERM)")


def test_a_program_that_ends_well_when_it_is_asked_to_end_has_succeeded() -> None:
    for cancelling in (False, True):
        verdict = after_attempt(Outcome(exit_code=0, stopped=True), 1, RULE, NOW, 0.5, cancelling)
        assert verdict.task_status is TaskStatus.SUCCEEDED


def test_a_timeout_or_a_cancellation_that_a_stop_overtakes_still_counts() -> None:
    stopped = Outcome(signal=15, stopped=True)
    assert after_attempt(stopped, 1, RULE, NOW, 0.5, True).task_status is TaskStatus.CANCELLED
    late = Outcome(signal=15, stopped=True, timed_out=True)
    assert after_attempt(late, 3, RULE, NOW, 0.5).task_status is TaskStatus.FAILED


def test_a_success_has_no_description() -> None:
    assert describe(Outcome(exit_code=0), RULE) == ""


def test_the_wait_doubles_up_to_its_cap() -> None:
    assert [backoff_s(attempts, 1.0) for attempts in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60]


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_never_negative_and_never_above_the_cap(attempts: int, jitter: float) -> None:
    assert 0 <= backoff_s(attempts, jitter) <= BACKOFF_CAP_S


@given(st.text(max_size=40))
def test_jitter_is_repeatable_and_below_one(seed: str) -> None:
    assert 0 <= jitter_of(seed) < 1
    assert jitter_of(seed) == jitter_of(seed)


@given(st.integers(0, 20), st.lists(st.sampled_from([outcome for outcome, _, _ in FAILURES]), min_size=30, max_size=30))
def test_attempts_never_exceed_the_retries_and_one(max_retries: int, outcomes: list[Outcome]) -> None:
    rule = AttemptRule(max_retries=max_retries, timeout_s=1, memory_mb=1)
    for number, outcome in enumerate(outcomes, start=1):
        if after_attempt(outcome, number, rule, NOW, 0.1).task_status.terminal:
            assert number == max_retries + 1
            return
    raise AssertionError("the task never ended")
