"""Where a workload answers, by its spec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.ids import Kind
from homeport.workloads.addresses import (
    HOST_LABEL_LENGTH,
    Addresses,
    CustomPath,
    Stickiness,
    claimed_paths,
    host_label,
    overlapping,
    read_addresses,
    stored_addresses,
    why_no_host,
)

names = st.from_regex(r"[ab]([ab-]{0,3}[ab])?", fullmatch=True)


def read(spec: dict[str, object], **labels: str) -> Addresses:
    return read_addresses(Kind.AGENT, "one", spec, {key.replace("_", "/"): value for key, value in labels.items()})


def trigger(path: str = "", kind: str = "http", **more: object) -> dict[str, object]:
    enabled = more.pop("enabled", True)
    return {
        "id": path.strip("/").replace("/", "-") or kind,
        "type": kind,
        "enabled": enabled,
        "configuration": {"path": path, **more},
    }


def test_an_empty_spec_asks_for_nothing() -> None:
    assert read({}) == Addresses()
    assert read({"triggers": None, "revision": None, "public": None}) == Addresses()


def test_paths_are_normal_and_the_longest_come_first() -> None:
    found = read({"triggers": [trigger("/a/"), trigger("a/b/c", timeout="2m", retry=7), trigger("b", "http-async")]})
    assert found.paths == (
        CustomPath(path="a/b/c", trigger="a-b-c", public=False, timeout_s=120, retries=7),
        CustomPath(path="a", trigger="a", public=False),
        CustomPath(path="b", trigger="b", public=False, asynchronous=True),
    )


@pytest.mark.parametrize("public", [True, False])
def test_a_path_is_as_open_as_the_agent_unless_it_says_otherwise(public: bool) -> None:
    kinds = ("", "public", "private", "blaxel")
    triggers = [trigger(f"p{index}", authenticationType=kind or None) for index, kind in enumerate(kinds)]
    found = read({"public": public, "triggers": triggers})
    assert {path.path: path.public for path in found.paths} == {"p0": public, "p1": True, "p2": False, "p3": False}
    assert found.public is public


def test_a_trigger_without_a_path_speaks_of_the_agents_own_address() -> None:
    assert read({"triggers": [trigger(authenticationType="public", timeout=30, retry=9)]}) == Addresses(
        public=True, timeout_s=30, retries=9
    )
    assert read({"public": True, "triggers": [trigger(authenticationType="private")]}).public
    assert read({"triggers": [trigger(authenticationType="public", enabled=False)]}) == Addresses()
    assert read({"triggers": [trigger(kind="http-async", authenticationType="public")]}) == Addresses()
    assert read({"triggers": [trigger("clock", "cron")]}) == Addresses()


def test_a_path_that_is_switched_off_is_not_served_and_stays_claimed() -> None:
    spec = {"triggers": [trigger("a", enabled=False), trigger("agents/one/b"), trigger("c")]}
    assert [path.path for path in read(spec).paths] == ["agents/one/b", "c"]
    assert [*claimed_paths(Kind.AGENT, "one", spec)] == ["a", "c"]  # below its own name nobody else may claim


def test_stickiness_and_affinity() -> None:
    assert read({"revision": {"stickySessionTtl": 60}}).stickiness == Stickiness(ttl_s=60)
    assert not read({"revision": {"stickySessionTtl": 0}}).stickiness.to_revision
    assert read({}, **{"homeport.dev_affinity": "replica"}).stickiness == Stickiness(replica=True)
    assert read({}, **{"homeport.dev_affinity": "replica"}).stickiness.to_revision


def test_what_an_earlier_version_took_without_looking_is_not_served() -> None:
    spec = {"public": True, "triggers": [trigger("agents/other"), trigger("a")]}
    assert stored_addresses(Kind.AGENT, "one", spec, {}) == Addresses(public=True)


@pytest.mark.parametrize(
    ("path", "others", "taken"),
    [("a", ["b", "ab"], None), ("a", ["a"], "a"), ("a/b", ["a"], "a"), ("a", ["a/b"], "a/b"), ("a/bc", ["a/b"], None)],
)
def test_paths_overlap_by_whole_parts(path: str, others: list[str], taken: str | None) -> None:
    assert overlapping(path, others) == taken


@given(st.sets(names, min_size=1), st.sets(st.tuples(names, names), min_size=2))
def test_no_two_workloads_share_a_host_name(workspaces: set[str], wanted: set[tuple[str, str]]) -> None:
    labels = [
        label
        for name, workspace in wanted
        if workspace in workspaces and (label := host_label(Kind.AGENT, name, workspace, workspaces))
    ]
    assert len(labels) == len(set(labels))


def test_a_host_name_that_could_mean_two_is_that_of_the_longer_workspace() -> None:
    workspaces = ["c", "b-c"]
    assert host_label(Kind.AGENT, "a", "b-c", workspaces) == "agt-a-b-c"
    assert host_label(Kind.AGENT, "a-b", "c", workspaces) == ""
    assert "another workspace" in why_no_host(Kind.AGENT, "a-b", "c", workspaces)
    assert host_label(Kind.AGENT, "b", "c", workspaces) == "agt-b-c"  # no agent without a name
    assert host_label(Kind.AGENT, "a-b", "c", ["c"]) == "agt-a-b-c"
    assert host_label(Kind.FUNCTION, "a-b", "c", ["c"]) == "mcp-a-b-c"


def test_a_host_name_fits_into_a_part_of_dns() -> None:
    assert len(host_label(Kind.AGENT, "a" * 49, "default", [])) <= HOST_LABEL_LENGTH
    assert "longer than 63" in why_no_host(Kind.AGENT, "a" * 49, "b" * 20, [])
