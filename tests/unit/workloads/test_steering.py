"""What an order asks of the revisions, by `spec.revision`."""

from typing import Any

import pytest

from homeport.core.errors import Conflict, Invalid
from homeport.core.ids import RevisionId
from homeport.workloads.states import RevisionState as S
from homeport.workloads.steering import (
    Steer,
    aborted,
    first_steer,
    is_held,
    next_steer,
    promoted,
    startable,
    unavailable,
    undone,
    with_share,
)
from homeport.workloads.traffic import NO_TRAFFIC, NOBODY, Split, Traffic
from homeport.workloads.views import RevisionView

NEW = RevisionId("new")
R1, R2, R3 = (RevisionId(name) for name in ("r1", "r2", "r3"))
UNBUILT = (S.UPLOADING, S.BUILDING)


def kept(*states: S, unbuilt: tuple[str, ...] = ()) -> list[RevisionView]:
    """r1, r2 … in these states, newest first as the store gives them."""
    made = [
        RevisionView(
            id=RevisionId(f"r{n}"),
            generation=n,
            state=state,
            built=state not in UNBUILT and f"r{n}" not in unbuilt,
            served=f"r{n}" not in unbuilt,
        )
        for n, state in enumerate(states, 1)
    ]
    return made[::-1]


def traffic_of(revisions: list[RevisionView], canary: int = 0) -> Traffic:
    """The oldest serving one is active, a newer serving one the canary with this share, and the newest that is on its
    way is wanted."""
    serving = [one.id for one in reversed(revisions) if one.state is S.SERVING]
    served = Split(active=serving[0], canary=serving[1], percent=canary) if len(serving) > 1 else NOBODY
    served = Split(active=serving[0]) if len(serving) == 1 else served
    coming = next((one.id for one in revisions if one.state in (*UNBUILT, S.BUILT, S.STARTING)), None)
    return Traffic(served=served, wanted=Split(active=coming) if coming else served)


def deploy(revisions: list[RevisionView], before: dict[str, Any] | None = None, share: int = 0, **asked: Any) -> Steer:
    """With a new revision."""
    return next_steer({"revision": asked}, {"revision": before or {}}, traffic_of(revisions, share), revisions, NEW)


def steer(revisions: list[RevisionView], before: dict[str, Any] | None = None, share: int = 0, **asked: Any) -> Steer:
    """Without one."""
    return next_steer({"revision": asked}, {"revision": before or {}}, traffic_of(revisions, share), revisions, None)


def test_a_new_workload_serves_unless_its_traffic_is_0() -> None:
    for spec in ({}, {"revision": {"traffic": 100}}):
        assert first_steer(spec, NEW) == Steer(wanted=Split(active=NEW), share=100)
    held = first_steer({"revision": {"traffic": 0}}, NEW)
    assert (held.held, held.wanted) == ("traffic is 0", NOBODY)


def test_what_a_new_workload_says_of_other_revisions_is_ignored_and_told() -> None:
    asked = {"active": "rev-abc123", "canary": "other", "canaryPercent": 10, "stickySessionTtl": 0, "traffic": 30}
    first = first_steer({"revision": asked}, NEW)
    assert first.wanted == Split(active=NEW) and not first.held
    told = [one.field.removeprefix("spec.revision.") for one in first.ignored]
    assert told == ["active", "canary", "canaryPercent", "traffic"]


@pytest.mark.parametrize("key", ["traffic", "canaryPercent"])
@pytest.mark.parametrize("share", [-1, 101, 1.5, "10", True])
def test_a_share_that_is_none_is_refused(share: object, key: str) -> None:
    spec = {"revision": {key: share}}
    for decide in (lambda: first_steer(spec, NEW), lambda: next_steer(spec, {}, NO_TRAFFIC, kept(S.SERVING), NEW)):
        with pytest.raises(Invalid) as refused:
            decide()
        assert refused.value.field == f"spec.revision.{key}"


@pytest.mark.parametrize(
    ("states", "held"),
    [
        ([], False),
        ([S.SERVING], False),
        ([S.FAILED], False),
        ([S.HELD], False),
        ([S.SERVING, S.FAILED], False),
        ([S.SERVING, S.BUILDING], False),
        ([S.HELD, S.SERVING], False),
        ([S.SUPERSEDED, S.SERVING], False),
        ([S.SERVING, S.SUPERSEDED], True),
        ([S.SERVING, S.SERVING], True),
        ([S.SERVING, S.HELD], True),
        ([S.SERVING, S.HELD, S.FAILED], True),
    ],
)
def test_without_a_share_the_new_one_serves_if_what_serves_is_the_latest(states: list[S], held: bool) -> None:
    found = deploy(kept(*states))
    assert bool(found.held) is held
    assert ("is not the latest" in found.held) is held
    assert found.wanted == (traffic_of(kept(*states)).wanted if held else Split(active=NEW))


def test_one_that_was_passed_over_is_not_a_later_one_that_was_gone_back_from() -> None:
    assert not deploy(kept(S.SERVING, S.SUPERSEDED, unbuilt=("r2",))).held


def test_a_share_is_that_of_the_new_revision_until_it_is_promoted() -> None:
    assert deploy(kept(S.SERVING, S.HELD), traffic=100).wanted == Split(active=NEW)
    assert deploy(kept(S.SERVING), traffic=0).held == "traffic is 0"
    assert deploy(kept(S.SERVING), traffic=10).wanted == Split(active=R1, canary=NEW, percent=10)
    assert deploy(kept(S.SERVING, S.SERVING), share=50, traffic=10).wanted == Split(active=R1, canary=NEW, percent=10)
    assert deploy(kept(S.SERVING, S.SERVING), share=50, traffic=0).wanted == Split(active=R1, canary=R2, percent=50)
    alone = deploy(kept(S.HELD), traffic=10)
    assert alone.wanted == Split(active=NEW) and "nothing else serves" in str(alone.ignored[0])


def test_an_order_that_names_who_serves_keeps_its_new_revision() -> None:
    found = deploy(kept(S.SUPERSEDED, S.SERVING), active="r1")
    assert (found.held, found.wanted) == ("revision r1 is the active one", Split(active=R1))
    found = deploy(kept(S.SERVING, S.HELD), canary="r2", canaryPercent=5)
    assert (found.held, found.wanted) == ("revision r2 is the canary", Split(active=R1, canary=R2, percent=5))


@pytest.mark.parametrize("state", [S.SUPERSEDED, S.HELD, S.SERVING, S.FAILED, S.BUILDING, S.STARTING])
def test_any_revision_that_is_kept_can_be_the_active_one_older_ones_too(state: S) -> None:
    assert steer(kept(state, S.SERVING), active="r1").wanted == Split(active=R1)


@pytest.mark.parametrize("key", ["active", "canary"])
def test_a_revision_that_was_never_built_is_refused_and_those_that_were_are_named(key: str) -> None:
    with pytest.raises(Invalid, match=rf"spec.revision.{key}: must be a revision that was built.*: r2") as refused:
        steer(kept(S.FAILED, S.SERVING, unbuilt=("r1",)), **{key: "r1"})
    assert "r1" in str(refused.value.message)


@pytest.mark.parametrize("key", ["active", "canary"])
def test_an_unknown_revision_is_refused_with_those_there_are(key: str) -> None:
    with pytest.raises(Invalid, match=rf"spec.revision.{key}: must be a revision of this workload: r2, r1"):
        steer(kept(S.SUPERSEDED, S.SERVING), **{key: "rev-abc123"})


def test_the_canary_and_its_share_are_asked_for_by_name() -> None:
    revisions = kept(S.SERVING, S.HELD)
    asked = {"active": "r1", "canary": "r2", "canaryPercent": 30}
    assert steer(revisions, **asked).wanted == Split(active=R1, canary=R2, percent=30)
    assert steer(revisions, canary="r2").wanted == Split(active=R1, canary=R2, percent=0)
    shared = kept(S.SERVING, S.SERVING)
    assert steer(shared, share=30, canaryPercent=100).wanted == Split(active=R1, canary=R2, percent=100)
    assert steer(shared, share=30, canary="r2").wanted.percent == 30
    assert steer(shared, share=30, active="r1").wanted == Split(active=R1), "who is named alone serves alone"
    assert steer(shared, share=30, active="r2").wanted == Split(active=R2)
    assert steer(shared, share=30).wanted == Split(active=R1, canary=R2, percent=30), "nothing said, nothing changed"


def test_what_contradicts_itself_is_refused() -> None:
    shared = kept(S.SERVING, S.SERVING)
    for asked, field in (
        ({"active": "r1", "canary": "r1"}, "canary"),
        ({"canary": "r1"}, "canary"),
        ({"active": "r1", "traffic": 100}, "traffic"),
        ({"canary": "r2", "traffic": 10}, "traffic"),
    ):
        with pytest.raises(Invalid) as refused:
            deploy(shared, share=5, **asked)
        assert refused.value.field == f"spec.revision.{field}"
    with pytest.raises(Invalid, match="no revision serves"):
        steer(kept(S.HELD), canary="r1")


def test_a_share_of_a_canary_that_is_not_there_is_ignored_and_told() -> None:
    found = steer(kept(S.SERVING), canaryPercent=10)
    assert (found.wanted, [one.field for one in found.ignored]) == (Split(active=R1), ["spec.revision.canaryPercent"])


def test_a_changed_share_alone_is_that_of_the_newest_revision() -> None:
    revisions = kept(S.SERVING, S.HELD)
    assert steer(revisions, before={"traffic": 0}, traffic=100).wanted == Split(active=R2)
    assert steer(revisions, before={"traffic": 0}, traffic=20).wanted == Split(active=R1, canary=R2, percent=20)
    shared = kept(S.SERVING, S.SERVING)
    assert steer(shared, before={"traffic": 20}, share=20, traffic=0).wanted == Split(active=R1)
    assert steer(kept(S.HELD), before={"traffic": 0}, traffic=20).wanted == Split(active=R1)


def test_what_only_comes_back_as_it_was_read_changes_nothing() -> None:
    shared = kept(S.SERVING, S.SERVING)
    for back in ({"active": "r1", "traffic": 10}, {"traffic": 10}, {"active": "r1"}):
        assert steer(shared, before=back, share=10, **back).wanted == Split(active=R1, canary=R2, percent=10)
    gone = {"active": "rev-abc123", "canary": "other", "traffic": 100}
    found = deploy(kept(S.SERVING), before=gone, **gone)
    assert found.wanted == Split(active=NEW)
    assert {one.field for one in found.ignored} == {"spec.revision.active", "spec.revision.canary"}
    unbuilt = kept(S.SERVING, S.FAILED, unbuilt=("r2",))
    assert steer(unbuilt, before={"active": "r2"}, active="r2").wanted == Split(active=R1)


def test_one_that_failed_is_tried_again_when_it_is_named_again() -> None:
    revisions = kept(S.SERVING, S.FAILED)
    traffic = Traffic(served=Split(active=R1), wanted=Split(active=R1), failed=R2)
    asked = {"revision": {"active": "r2"}}
    assert next_steer(asked, asked, traffic, revisions, None).wanted == Split(active=R2)
    wanted = traffic.asked(Split(active=R2))
    assert [one.id for one in startable(wanted, revisions)] == [R2]
    assert unavailable(wanted, kept(S.SERVING, S.FAILED)) == (R2,)


def test_what_is_promoted_undone_and_aborted() -> None:
    served = Split(active=R1, canary=R2, percent=10)
    shared = Traffic(served=served, wanted=served, previous=R3)
    assert (promoted(shared, []), undone(shared), aborted(shared)) == (R2, R3, R1)
    alone = Traffic(served=Split(active=R1), wanted=Split(active=R1))
    assert promoted(alone, kept(S.SERVING, S.HELD, S.FAILED, unbuilt=("r3",))) == R2
    for refuse in (lambda: promoted(alone, kept(S.SERVING)), lambda: undone(alone), lambda: aborted(alone)):
        with pytest.raises(Conflict, match="There is nothing to"):
            refuse()
    assert aborted(Traffic(served=Split(active=R1), wanted=Split(active=R2))) == R1
    with pytest.raises(Conflict, match="no revision has served"):
        aborted(Traffic(wanted=Split(active=R1)))


def test_the_share_at_its_deployment_is_kept_in_the_revision() -> None:
    assert is_held(with_share({"revision": {"active": "x", "traffic": 100}}, Steer(wanted=NOBODY, held="because")))
    shared = with_share({}, Steer(wanted=NOBODY, share=10))
    assert shared == {"revision": {"traffic": 10}} and not is_held(shared) and not is_held({})
