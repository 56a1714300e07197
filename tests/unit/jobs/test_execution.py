"""An execution's status follows from its counts; places are shared fairly and never beyond a limit."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.ids import ExecutionId
from homeport.jobs.execution import Counts, capacity, shares, status_of
from homeport.jobs.states import ExecutionStatus as Status


@pytest.mark.parametrize(
    ("current", "counts", "cancel", "room", "expected"),
    [
        (Status.PENDING, Counts(pending=3), False, True, Status.PENDING),
        (Status.PENDING, Counts(pending=3), False, False, Status.QUEUED),
        (Status.QUEUED, Counts(pending=3), False, True, Status.PENDING),
        (Status.QUEUED, Counts(pending=2, running=1), False, False, Status.RUNNING),
        (Status.RUNNING, Counts(pending=3, retried=1), False, False, Status.RUNNING),
        (Status.RUNNING, Counts(succeeded=2, pending=1), False, True, Status.RUNNING),
        (Status.RUNNING, Counts(succeeded=3), False, True, Status.SUCCEEDED),
        (Status.RUNNING, Counts(succeeded=2, failed=1), False, True, Status.FAILED),
        (Status.RUNNING, Counts(succeeded=2, failed=2, timed_out=1), False, True, Status.FAILED),
        (Status.RUNNING, Counts(succeeded=2, failed=2, timed_out=2), False, True, Status.TIMEOUT),
        (Status.RUNNING, Counts(running=1, cancelled=4), True, True, Status.CANCELLING),
        (Status.CANCELLING, Counts(cancelled=4, failed=1), True, True, Status.CANCELLED),
        (Status.CANCELLING, Counts(succeeded=5), True, True, Status.CANCELLED),
        (Status.PENDING, Counts(), False, True, Status.SUCCEEDED),
    ],
)
def test_the_status_follows_from_the_counts(
    current: Status, counts: Counts, cancel: bool, room: bool, expected: Status
) -> None:
    assert status_of(current, counts, cancel_requested=cancel, room=room) is expected


COUNTS = st.builds(Counts, **{name: st.integers(0, 4) for name in Counts.__slots__})


@given(st.sampled_from(list(Status)), COUNTS, st.booleans(), st.booleans())
def test_a_status_is_terminal_exactly_when_nothing_is_open(
    current: Status, counts: Counts, cancel: bool, room: bool
) -> None:
    found = status_of(current, counts, cancel_requested=cancel, room=room)
    if current.terminal:
        assert found is current
    else:
        assert found.terminal == (counts.open == 0)


def test_capacity_is_within_both_limits_and_never_negative() -> None:
    assert capacity(10, 4, 100) == 6
    assert capacity(10, 4, 2) == 2
    assert capacity(2, 5, 100) == 0
    assert capacity(10, 0, -3) == 0


@dataclass(frozen=True)
class Waiting:
    id: ExecutionId
    parallelism: int
    running: int
    pending: int


def waiting(*rows: tuple[int, int, int]) -> list[Waiting]:
    return [Waiting(ExecutionId(f"e{place}"), *row) for place, row in enumerate(rows)]


def test_a_large_execution_leaves_room_for_a_small_one() -> None:
    assert shares(waiting((100, 0, 1_000_000), (10, 0, 2)), 8) == [("e0", 6), ("e1", 2)]


def test_whoever_runs_least_goes_first() -> None:
    assert shares(waiting((10, 4, 10), (10, 0, 10)), 3) == [("e1", 3)]


def test_nothing_is_given_where_nothing_is_free_or_wanted() -> None:
    assert shares(waiting((10, 0, 5)), 0) == []
    assert shares(waiting((10, 0, 5)), -1) == []
    assert shares(waiting((10, 10, 5), (5, 0, 0)), 4) == []


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6), st.integers(0, 6)), max_size=6), st.integers(-2, 12))
def test_shares_use_all_that_is_free_and_never_exceed_a_limit(rows: list[tuple[int, int, int]], free: int) -> None:
    executions = waiting(*rows)
    given_out = dict(shares(executions, free))
    limits = {one.id: min(one.pending, max(0, one.parallelism - one.running)) for one in executions}
    assert all(0 < count <= limits[name] for name, count in given_out.items())
    assert sum(given_out.values()) == min(max(0, free), sum(limits.values()))
