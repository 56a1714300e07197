"""Which revision a deployment lets serve, by `spec.revision`."""

from typing import Any

import pytest

from homeport.core.errors import Invalid
from homeport.core.ids import RevisionId
from homeport.workloads.states import RevisionState as S
from homeport.workloads.traffic import Traffic, first_traffic, is_held, next_traffic, with_share
from homeport.workloads.views import RevisionView


def kept(*states: S) -> list[RevisionView]:
    """r1, r2 … in these states, newest first as the store gives them."""
    made = [RevisionView(id=RevisionId(f"r{n}"), generation=n, state=state) for n, state in enumerate(states, 1)]
    return made[::-1]


def after(revisions: list[RevisionView], before: dict[str, Any] | None = None, **asked: Any) -> Traffic:
    return next_traffic({"revision": asked}, {"revision": before or {}}, revisions)


def test_a_new_workload_serves_unless_its_traffic_is_0() -> None:
    assert first_traffic({}) == first_traffic({"revision": {"traffic": 100}}) == Traffic()
    assert first_traffic({"revision": {"traffic": 0}}).held == "traffic is 0"


def test_what_a_new_workload_says_of_other_revisions_is_ignored_and_told() -> None:
    asked = {"active": "rev-abc123", "canary": "other", "canaryPercent": 10, "stickySessionTtl": 0, "traffic": 100}
    traffic = first_traffic({"revision": asked})
    assert (traffic.held, [one.field for one in traffic.ignored]) == (
        "",
        ["spec.revision.active", "spec.revision.canary"],
    )


@pytest.mark.parametrize("share", [1, 50, 99, -1, 101])
def test_a_share_of_requests_is_refused(share: int) -> None:
    for decide in (first_traffic, lambda spec: next_traffic(spec, {}, kept(S.SERVING))):
        with pytest.raises(Invalid) as refused:
            decide({"revision": {"traffic": share}})
        assert refused.value.field == "spec.revision.traffic"


@pytest.mark.parametrize(
    ("states", "held"),
    [
        ([], False),
        ([S.SERVING], False),
        ([S.FAILED], False),
        ([S.HELD], False),
        ([S.SERVING, S.FAILED], False),
        ([S.SERVING, S.SUPERSEDED], False),
        ([S.SERVING, S.BUILDING], False),
        ([S.HELD, S.SERVING], False),
        ([S.SERVING, S.HELD], True),
        ([S.SERVING, S.HELD, S.FAILED], True),
    ],
)
def test_without_a_share_the_new_one_serves_if_what_serves_is_the_latest(states: list[S], held: bool) -> None:
    traffic = after(kept(*states))
    assert bool(traffic.held) is held
    assert not held or "is not the latest" in traffic.held


def test_a_share_says_it_whatever_serves() -> None:
    assert not after(kept(S.SERVING, S.HELD), traffic=100).held
    assert after(kept(S.SERVING), traffic=0).held


def test_the_serving_revision_as_the_active_one_keeps_serving() -> None:
    traffic = after(kept(S.SERVING, S.BUILDING), active="r1")
    assert traffic.held == "revision r1 is the active one"
    assert (traffic.activate, traffic.overtake) == (None, (RevisionId("r2"),)), "what was on its way does not serve"


def test_a_kept_newer_revision_as_the_active_one_begins_to_serve() -> None:
    traffic = after(kept(S.SERVING, S.HELD), active="r2", traffic=0)
    assert (traffic.activate, bool(traffic.held)) == (RevisionId("r2"), True)
    assert after(kept(S.HELD, S.HELD), active="r1").activate == "r1"


@pytest.mark.parametrize(
    ("states", "active"),
    [
        ([S.SUPERSEDED, S.SERVING], "r1"),
        ([S.HELD, S.SERVING], "r1"),
        ([S.SERVING, S.FAILED], "r2"),
        ([S.SERVING, S.BUILDING], "r2"),
    ],
)
def test_a_revision_that_cannot_be_made_to_serve_is_refused(states: list[S], active: str) -> None:
    with pytest.raises(Invalid, match=r"spec.revision.active: must be the serving revision"):
        after(kept(*states), active=active)


def test_an_unknown_revision_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="must be a revision of this workload: r2, r1"):
        after(kept(S.SUPERSEDED, S.SERVING), active="rev-abc123")


def test_an_active_revision_beside_all_traffic_for_the_new_one_is_refused() -> None:
    with pytest.raises(Invalid, match=r"spec.revision.traffic"):
        after(kept(S.SERVING), active="r1", traffic=100)


def test_what_is_sent_back_as_it_was_read_is_ignored_and_told() -> None:
    asked = {"active": "rev-abc123", "canary": "other", "traffic": 100}
    traffic = after(kept(S.SERVING), before=asked, **asked)
    assert not traffic.held
    assert {one.field for one in traffic.ignored} == {"spec.revision.active", "spec.revision.canary"}


def test_a_canary_is_refused_at_an_update() -> None:
    with pytest.raises(Invalid, match=r"spec.revision.canary"):
        after(kept(S.SERVING), canary="r1")


def test_the_outcome_is_kept_in_the_revision() -> None:
    assert is_held(with_share({"revision": {"active": "x", "traffic": 100}}, held=True))
    assert not is_held(with_share({}, held=False)) and not is_held({})
