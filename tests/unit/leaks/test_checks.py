"""Each check of `homeport gc` on what was observed, without a machine: what it finds, and what it lets wait."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homeport.core.ids import ExecutionId, ReplicaId, RevisionId, UnitId
from homeport.core.units import UnitKind, UnitState, UnitStatus
from homeport.jobs.states import AttemptState
from homeport.leaks.checks import CHECKS, check
from homeport.leaks.engines import Harbour, Kept
from homeport.leaks.machine import Entry, Process
from homeport.leaks.observation import Observation, Rows
from homeport.settings import DataDir
from homeport.store.records import Attempt, Orphan, Replica
from homeport.workloads.states import ReplicaState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATA = DataDir(Path("/data"))
OLD_S = 7 * 24 * 3600.0
UP, NODE, SERVER = 10, 11, 12


def unit(name: str, *, lives: bool = True, kind: UnitKind = UnitKind.REPLICA, **labels: str) -> UnitStatus:
    state = UnitState.RUNNING if lives else UnitState.EXITED
    long_ago = NOW - timedelta(seconds=OLD_S)
    return UnitStatus(
        id=UnitId(name),
        kind=kind,
        state=state,
        started_at=long_ago,
        ended_at=None if lives else long_ago,
        labels=labels,
    )


def process(pid: int, *words: str, parent: int = 1, **more: Any) -> Process:
    return Process(pid=pid, parent=parent, started=pid, age_s=OLD_S, words=words, **more)


def entry(path: str, age_s: float = OLD_S, **more: Any) -> Entry:
    return Entry(path=Path(path), age_s=age_s, moved_s=age_s, **more)


def replica(state: ReplicaState = ReplicaState.READY, age_s: float = OLD_S) -> Replica:
    then = NOW - timedelta(seconds=age_s)
    return Replica(
        id=ReplicaId("rep-1"),
        revision_id=RevisionId("rev-1"),
        resource_uid="agent-1",
        ordinal=0,
        state=state,
        unit=UnitId("rep-1-0"),
        port=20001,
        restarts=0,
        message="",
        created_at=then,
        ready_at=None,
        changed_at=then,
    )


def attempt(age_s: float = OLD_S) -> Attempt:
    return Attempt(
        execution_id=ExecutionId("exec-1"),
        index=0,
        number=1,
        unit=UnitId("exec-1-0-1"),
        state=AttemptState.RUNNING,
        created_at=NOW - timedelta(seconds=age_s),
        started_at=None,
        ended_at=None,
        outcome=None,
    )


# A system that runs one agent, with everything in its place.
SOUND = Observation(
    data=DATA,
    now=NOW,
    supervisor=UP,
    components={"node": NODE, "server": SERVER},
    node_answers=True,
    units={"rep-1-0": unit("rep-1-0", resource="agent-1")},
    processes=(
        process(UP, "python", "-m", "homeport.supervise", "--data", "/data"),
        process(NODE, "python", "-m", "homeport.node", "--data", "/data", parent=UP),
        process(SERVER, "python", "-m", "homeport.server", "--data", "/data", parent=UP),
        process(20, "bwrap", parent=NODE, unit="rep-1-0"),
        process(21, "python", "-m", "homeport.node", "--data", "/another"),
    ),
    groups=(entry("/cg/homeport-x"), entry("/cg/homeport-x/rep-1-0")),
    folders=(entry("/data/node/units/rep-1-0"),),
    sockets=(entry("/data/run/node.sock", listened=True),),
    open_files=(Path("/data/node/units/rep-1-0/log"), Path("/data/node/journal")),
    bundles=(entry("/data/bundles/b1"),),
    sources=(entry("/data/sources/s1.zip"),),
    rows=Rows(
        replicas=(replica(),),
        workloads=frozenset({"agent-1"}),
        digests=frozenset({"b1", "s1"}),
        routes=frozenset({"home/agents/a", "home/agents/a/rev-1"}),
    ),
    gateway=frozenset({"home/agents/a", "home/agents/a/rev-1", "the platform/-/-", "all models/-/-"}),
)
SOUND = replace(SOUND, groups=(entry(f"/cg/{SOUND.group}"), entry(f"/cg/{SOUND.group}/rep-1-0")))
NO_UNIT: dict[str, Any] = {"units": {}, "folders": (), "groups": (), "processes": (), "open_files": ()}
ENDED = unit("u", lives=False, resource="agent-1")
ORPHAN = Orphan(table="replicas", name="rep-9", why="its revision is gone", since=NOW)
STOPPED = Observation(data=DATA, now=NOW)


def rows(**more: Any) -> dict[str, Any]:
    assert SOUND.rows is not None
    return {"rows": replace(SOUND.rows, **more)}


def test_a_sound_system_and_a_stopped_one_have_nothing_that_nobody_owns() -> None:
    assert check(SOUND) == []
    assert check(STOPPED) == []


KEPT = Kept(region="docks", id="1", name="kept", age_s=10_000.0)


@pytest.mark.parametrize(
    ("kind", "why", "change"),
    [
        ("process", "did not write down", {"processes": (process(9, "python", "homeport.node", "--data", "/data"),)}),
        ("process", "did not write down", {"processes": (process(9, "envoy", "-c", "/data/run/envoy.json"),)}),
        ("process", "no node knows its unit", {"processes": (process(9, "sleep", unit="ghost"),)}),
        ("process", "has ended", {"processes": (process(9, "x", unit="u"),), "units": {**SOUND.units, "u": ENDED}}),
        ("process", "does not collect it", {"processes": (process(9, parent=NODE, zombie=True),)}),
        ("cgroup", "no unit ghost lives", {"groups": (entry("/cg/homeport-x/ghost"),)}),
        ("directory", "knows no unit ghost", {"folders": (entry("/data/node/units/ghost"),)}),
        ("directory", "in the node's trash", {"trash": (entry("/data/node/trash/home.1"),)}),
        ("open file", "does not live", {"open_files": (Path("/data/node/units/ghost/log"),)}),
        ("open file", "does not live", {"open_files": (Path("/data/node/trash/home.1/x"),)}),
        ("file", "did not finish", {"drafts": (entry("/data/up.json.new"),)}),
        ("socket", "nobody listens", {"sockets": (entry("/data/run/old.sock"),)}),
        ("directory", "is gone", {"outside": (entry(f"/run/{SOUND.group}-77-stage"),)}),
        ("unit", "no replica and no attempt", {"units": {**SOUND.units, "u": unit("u")}}),
        ("unit", "not being built", {"units": {**SOUND.units, "u": unit("u", kind=UnitKind.BUILD, revision="r")}}),
        ("unit", "its workload is gone", {"units": {**SOUND.units, "u": unit("u", lives=False, resource="g")}}),
        ("row", "its unit does not live", NO_UNIT),
        ("row", "it drains", rows(replicas=(replica(ReplicaState.DRAINING),))),
        ("row", "its unit does not live", rows(attempts=(attempt(),))),
        ("row", "its revision is gone", rows(orphans=(ORPHAN,))),
        ("bundle", "no revision", {"bundles": (entry("/data/bundles/b2"),)}),
        ("source", "no revision", {"sources": (entry("/data/sources/s2.zip"),)}),
        ("upload", "on its way in", {"uploads": (entry("/data/uploads/rev-1.part"),)}),
        ("build", "not being built", {"builds": (entry("/data/builds/rev-9"),)}),
        ("image", "no revision and no tag", {"harbour": Harbour(images=(KEPT,))}),
        ("container", "no build runs", {"harbour": Harbour(steps=(KEPT,))}),
        ("volume", "no container has it", {"harbour": Harbour(volumes=(KEPT,))}),
        ("volume data", "no volume of the store", {"volumes": (entry("/data/volumes/volume-2"),)}),
        ("volume data", "engine of the region", {"harbour": Harbour(kept=(replace(KEPT, unit="volume-2"),))}),
        ("directory", "in the node's trash", {"volume_trash": (entry("/data/volumes/trash/volume-2.ab"),)}),
        ("network", "no container is in it", {"harbour": Harbour(networks=(replace(KEPT, workspace="w"),))}),
        ("container", "no driver knows", {"harbour": Harbour(containers=(replace(KEPT, unit="u9"),))}),
        ("route", "nothing in the store", {"gateway": frozenset({"home/agents/gone"})}),
    ],
)  # fmt: skip
def test_what_nobody_owns_is_found(kind: str, why: str, change: dict[str, Any]) -> None:
    found = check(replace(SOUND, **change))
    assert [(one.kind, one.pending) for one in found] == [(kind, False)], found
    assert why in found[0].why


def test_an_up_whose_directory_was_removed_is_found_with_what_it_starts() -> None:
    processes = (
        process(8, "python", "-m", "homeport.supervise", "--host", "127.0.0.1"),
        process(9, "python", "-m", "homeport.node", "--data", "/data", parent=8),
        process(10, "python", "-m", "homeport.edge", "--data", "/data", parent=8),
    )
    assert sorted(one.pid or 0 for one in check(replace(STOPPED, processes=processes))) == [8, 9, 10]


@pytest.mark.parametrize(
    "change",
    [
        {"trash": (entry("/data/node/trash/home.1", 1.0),)},
        {"sockets": (entry("/data/run/edge.sock", 1.0),)},
        {"bundles": (entry("/data/bundles/b2", 60.0),)},
        {"sources": (entry("/data/sources/s2.zip", 60.0),)},
        {"uploads": (entry("/data/uploads/rev-1.part", 60.0),)},
        {"builds": (entry("/data/builds/rev-9", 60.0),)},
        {"processes": (process(9, "python", "remove.py", "/data/node/trash"),)},
        rows(replicas=(replica(ReplicaState.DRAINING, 10.0),)),
        rows(attempts=(attempt(1.0),)),
        {"harbour": Harbour(steps=(KEPT,)), **rows(building=frozenset({"rev-1"}))},
        {"harbour": Harbour(images=(KEPT,)), **rows(brought=frozenset({KEPT.id}))},
    ],
)
def test_what_a_loop_is_about_to_handle_is_pending(change: dict[str, Any]) -> None:
    assert [one.pending for one in check(replace(SOUND, **change))] == [True]


def test_what_the_next_start_goes_on_with_is_pending_when_nothing_runs() -> None:
    kept = replace(
        STOPPED,
        rows=Rows(),
        trash=(entry("/data/node/trash/home.1"),),
        bundles=(entry("/data/bundles/b"),),
        units={"u": unit("u", lives=False)},
    )
    assert [one.pending for one in check(kept)] == [True] * 3


def test_what_stands_outside_of_the_directory_is_found_when_nothing_runs() -> None:
    left = replace(
        STOPPED,
        outside=(entry(f"/run/{STOPPED.group}-stage"),),
        groups=(entry(f"/cg/{STOPPED.group}"),),
        sockets=(entry("/data/run/node.sock", 1.0),),
        units={"u": unit("u")},
        processes=(process(9, "x", unit="u"),),
    )
    assert sorted(one.kind for one in check(left)) == ["directory", "process", "socket"]
    ended = replace(left, units={}, processes=())
    assert sorted(one.kind for one in check(ended) if not one.pending) == ["cgroup", "directory", "socket"]


def test_a_look_at_what_a_node_that_restarts_runs_finds_nothing() -> None:
    away = replace(SOUND, node_answers=False, components={"server": SERVER}, open_files=())
    assert [one for one in check(away) if not one.pending and one.kind != "process"] == []


def test_trash_is_pending_while_a_remover_is_at_work_however_slow_the_disk_is() -> None:
    remover = process(9, "python", "remove.py", "/data/node/trash", parent=NODE)
    slow = replace(SOUND, trash=(entry("/data/node/trash/home.1"),), processes=(*SOUND.processes, remover))
    assert [one.pending for one in check(slow)] == [True]


def test_a_look_at_the_machine_by_doctor_is_no_leak() -> None:
    doctor = process(9, "python", "-m", "homeport.node", "--check", "--data", "/data")
    assert check(replace(SOUND, processes=(*SOUND.processes, doctor))) == []


def test_every_check_is_registered_once() -> None:
    assert len({one.__name__ for one in CHECKS}) == len(CHECKS) == 26


def test_what_is_in_a_volume_is_told_and_never_removed() -> None:
    rows_with = rows(volumes=frozenset({"volume-1"}))
    there = {"volumes": (entry("/data/volumes/volume-1"),), "harbour": Harbour(kept=(replace(KEPT, unit="volume-1"),))}
    assert check(replace(SOUND, **there, **rows_with)) == []
    assert check(replace(SOUND, **there, rows=None)) == [], "without a store nobody knows whose it is"
    for finding in check(replace(SOUND, **there)):
        assert finding.kind == "volume data" and finding.action == "look at what is in it, and remove it yourself"
