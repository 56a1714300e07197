"""Which updates make a revision."""

from typing import Any

import pytest

from homeport.workloads.changes import revision_needed

BEFORE: dict[str, Any] = {
    "public": False,
    "policies": ["eu"],
    "runtime": {"memory": 512, "minScale": 1, "envs": [{"name": "A", "value": "1"}]},
}


def why(
    after: dict[str, Any],
    before: dict[str, Any] = BEFORE,
    upload: bool = False,
    relabelled: bool = False,
    newest: bool = True,
) -> str:
    return revision_needed(before, after, upload=upload, relabelled=relabelled, newest_is_active=newest)


@pytest.mark.parametrize(
    "change",
    [
        {"public": True},
        {"enabled": False},
        {"triggers": [{"id": "a", "type": "http"}]},
        {"runtime": {**BEFORE["runtime"], "minScale": 3, "maxScale": 7}},
        {"revision": {"active": "rev-1"}},
        {"revision": {"canary": "rev-2", "canaryPercent": 10}},
        {"revision": {"canaryPercent": 10}},
        {"revision": {"stickySessionTtl": 60}},
        {"revision": {"traffic": 100}},
    ],
)
def test_what_only_changes_how_requests_are_routed_or_how_many_replicas_run_makes_none(change: dict[str, Any]) -> None:
    assert why({**BEFORE, **change}) == ""


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"policies": []}, "spec.policies"),
        ({"runtime": {**BEFORE["runtime"], "memory": 1024}}, "spec.runtime.memory"),
        ({"runtime": {**BEFORE["runtime"], "envs": []}}, "spec.runtime.envs"),
        ({"runtime": {**BEFORE["runtime"], "image": "img:2"}}, "spec.runtime.image"),
        ({"region": "local"}, "spec.region"),
        ({"volumes": [{"name": "v"}]}, "spec.volumes"),
        ({"newer": 1}, "spec.newer"),
    ],
)
def test_what_changes_what_runs_makes_one_and_says_what_it_was(change: dict[str, Any], field: str) -> None:
    assert why({**BEFORE, **change, "public": True}) == f"{field} changed"


def test_an_archive_makes_one_whatever_else_is_the_same() -> None:
    assert why(BEFORE, upload=True) == "a new archive"


def test_the_same_order_again_is_a_redeployment_unless_it_says_who_serves() -> None:
    assert why(BEFORE) == "the same order again"
    assert why(BEFORE, relabelled=True) == ""
    for names in ({"active": "rev-1"}, {"canary": "rev-1", "canaryPercent": 5}):
        named = {**BEFORE, "revision": names}
        assert why(named, before=named) == ""
    shared = {**BEFORE, "revision": {"traffic": 10}}
    assert why(shared, before=shared) == "the same order again"


def test_a_share_asks_for_a_deployment_where_nothing_newer_than_what_serves_is_there() -> None:
    shared = {**BEFORE, "revision": {"traffic": 10}}
    assert why(shared) == "traffic 10 asks for a new deployment"
    assert why(shared, newest=False) == ""


def test_what_is_absent_null_or_empty_is_the_same() -> None:
    sent_back = {
        **BEFORE,
        "region": None,
        "volumes": [],
        "runtime": {**BEFORE["runtime"], "image": None},
        "public": True,
    }
    assert why(sent_back) == ""
