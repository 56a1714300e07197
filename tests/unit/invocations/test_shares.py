"""Whose turn it is among agents with waiting calls."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from homeport.invocations.shares import Waiting, shares

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def waiting(name: str, due: int, running: int = 0, late_s: int = 0) -> Waiting:
    return Waiting(agent_uid=name, running=running, due=due, oldest=NOON - timedelta(seconds=late_s))


def test_a_long_queue_does_not_keep_others_out() -> None:
    found = shares([waiting("long", 1000, late_s=60), waiting("short", 2)], room=10, per_agent=10)
    assert found == {"long": 8, "short": 2}


def test_the_one_with_fewest_under_way_is_first_and_then_the_one_that_waits_longest() -> None:
    one, two, busy = waiting("new", 1), waiting("old", 1, late_s=9), waiting("busy", 1, running=1, late_s=99)
    assert shares([one, two, busy], room=1, per_agent=5) == {"old": 1}
    assert shares([one, two, busy], room=2, per_agent=5) == {"old": 1, "new": 1}


_WAITING = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 12)), max_size=8)


@given(agents=_WAITING, room=st.integers(0, 60), per_agent=st.integers(1, 10))
def test_no_bound_is_passed_and_no_room_is_wasted(agents: list[tuple[int, int]], room: int, per_agent: int) -> None:
    asked = [waiting(str(index), due, running) for index, (due, running) in enumerate(agents)]
    found = shares(asked, room, per_agent)
    possible = {one.agent_uid: max(0, min(one.due, per_agent - one.running)) for one in asked}
    assert all(count <= possible[uid] for uid, count in found.items())
    assert sum(found.values()) == min(room, sum(possible.values()))
