"""How requests are shared: what is served, what is wanted, and how the one becomes the other."""

import math

import pytest

from homeport.core.ids import RevisionId, new_id
from homeport.workloads.traffic import NO_TRAFFIC, Split, Traffic, draw_of

R1, R2, R3 = (RevisionId(name) for name in ("r1", "r2", "r3"))


def test_a_split_shares_all_requests_among_two() -> None:
    split = Split(active=R1, canary=R2, percent=30)
    assert [split.share_of(one) for one in (R1, R2, R3)] == [70, 30, 0]
    assert Split(active=R1).share_of(R1) == 100


@pytest.mark.parametrize(
    ("percent", "draw", "chosen"), [(0, 0.0, R1), (30, 0.2999, R2), (30, 0.3, R1), (100, 0.999, R2)]
)
def test_a_draw_below_the_share_is_the_canarys(percent: int, draw: float, chosen: RevisionId) -> None:
    assert Split(active=R1, canary=R2, percent=percent).choose(draw) == chosen


@pytest.mark.parametrize("percent", [0, 1, 25, 50, 99, 100])
def test_of_many_executions_the_canary_has_its_share_within_three_standard_deviations(percent: int) -> None:
    split, count = Split(active=R1, canary=R2, percent=percent), 20_000
    hit = sum(split.choose(draw_of(new_id("exec"))) == R2 for _ in range(count))
    share = percent / 100
    assert abs(hit - count * share) <= 3 * math.sqrt(count * share * (1 - share))


def test_the_same_execution_is_drawn_the_same_way_again() -> None:
    assert draw_of("exec-abc") == draw_of("exec-abc") != draw_of("exec-abd")
    assert 0 <= draw_of("exec-abc") < 1


def test_only_new_shares_of_the_same_revisions_hold_at_once() -> None:
    served = Split(active=R1, canary=R2, percent=10)
    traffic = Traffic(served=served, wanted=served, failed=R3)
    more = traffic.asked(Split(active=R1, canary=R2, percent=60))
    assert (more.served.percent, more.under_way, more.failed) == (60, False, None)
    for wanted in (Split(active=R2), Split(active=R1), Split(active=R2, canary=R1, percent=10)):
        assert traffic.asked(wanted).served == served and traffic.asked(wanted).under_way


def test_only_those_that_take_a_new_part_must_answer_first() -> None:
    served = Split(active=R1, canary=R2, percent=10)
    traffic = Traffic(served=served, wanted=served)
    assert traffic.asked(Split(active=R1)).required == ()
    assert traffic.asked(Split(active=R2)).required == (R2,)
    assert traffic.asked(Split(active=R1, canary=R3)).required == (R3,)
    assert traffic.asked(Split(active=R2, canary=R3)).required == (R2, R3)


def test_a_switch_remembers_what_was_active_before_and_a_canary_does_not_change_that() -> None:
    first = NO_TRAFFIC.asked(Split(active=R1)).switched()
    assert (first.served.active, first.previous) == (R1, None)
    shared = first.asked(Split(active=R1, canary=R2, percent=5)).switched()
    assert shared.previous is None
    promoted = shared.asked(Split(active=R2)).switched()
    assert (promoted.served, promoted.previous) == (Split(active=R2), R1)
    assert promoted.named == (R2, R1)


def test_a_revision_that_cannot_be_had_leaves_its_part_to_what_had_it() -> None:
    served = Split(active=R1)
    traffic = Traffic(served=served, wanted=served)
    active = traffic.asked(Split(active=R2)).given_up(R2)
    assert (active.wanted, active.failed, active.under_way) == (served, R2, False)
    canary = traffic.asked(Split(active=R1, canary=R2, percent=5)).given_up(R2)
    assert canary.wanted == served
    both = traffic.asked(Split(active=R2, canary=R3, percent=5)).given_up(R2)
    assert both.wanted == Split(active=R1, canary=R3, percent=5)
    first = NO_TRAFFIC.asked(Split(active=R1, canary=R2, percent=5)).given_up(R1)
    assert first.wanted == Split(active=R2)
    assert NO_TRAFFIC.asked(Split(active=R1)).given_up(R1).wanted == Split()


def test_a_promotion_that_is_given_up_leaves_the_canary_its_share() -> None:
    served = Split(active=R1, canary=R2, percent=10)
    given_up = Traffic(served=served, wanted=served).asked(Split(active=R2)).given_up(R2)
    assert (given_up.wanted, given_up.failed) == (served, R2)


def test_it_is_stored_and_read_back() -> None:
    traffic = Traffic(served=Split(active=R1, canary=R2, percent=5), wanted=Split(active=R3), previous=R2, failed=R3)
    for one in (traffic, NO_TRAFFIC, Traffic(wanted=Split(active=R1))):
        assert Traffic.from_json(one.to_json()) == one
