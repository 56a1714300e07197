"""When a cron expression fires."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.errors import Invalid
from homeport.core.schedule import LATE, check_expression, due_firing, next_firing

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_nothing_is_due_before_its_time_and_one_at_its_time() -> None:
    assert due_firing("0 13 * * *", NOON, NOON + timedelta(minutes=59)).at is None
    due = due_firing("0 13 * * *", NOON, NOON + timedelta(hours=1))
    assert (due.at, due.skipped, due.next_at) == (NOON + timedelta(hours=1), 0, NOON + timedelta(hours=25))


def test_the_newest_of_missed_firings_is_made_up_for_unless_it_is_old() -> None:
    late = due_firing("*/10 * * * *", NOON, NOON + timedelta(minutes=35))
    assert (late.at, late.skipped) == (NOON + timedelta(minutes=30), 2)
    old = due_firing("0 13 * * *", NOON, NOON + timedelta(hours=2, seconds=1))
    assert (old.at, old.skipped) == (None, 1)


@given(steps=st.lists(st.integers(1, 5000), max_size=30))
def test_whenever_it_is_looked_at_no_moment_fires_twice_and_none_in_time_is_lost(steps: list[int]) -> None:
    expression, checked, fired = "*/7 * * * *", NOON, []
    for step in steps:
        now = checked + timedelta(seconds=step)
        due = due_firing(expression, checked, now)
        expected, moment = [], next_firing(expression, checked)
        while moment <= now:
            expected.append(moment)
            moment = next_firing(expression, moment)
        newest = expected[-1] if expected and now - expected[-1] <= LATE else None
        assert (due.at, due.skipped, due.next_at) == (newest, len(expected) - (newest is not None), moment)
        fired += [due.at] if due.at else []
        checked = now
    assert len(set(fired)) == len(fired)


@pytest.mark.parametrize("text", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "@daily"])
def test_what_never_fires_or_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="schedule"):
        check_expression(text, "schedule")
