"""Control groups of both versions: which files get which limits, and what is read back. The files are plain ones here;
tests with real groups are in tests/e2e/test_isolation.py."""

from pathlib import Path

from homeport.node import cgroups
from homeport.node.cgroups import Groups, UnitGroups


def test_version_2_limits_memory_and_tasks_in_one_group(tmp_path: Path) -> None:
    unit = cgroups.create(Groups(version=2, memory=tmp_path, pids=tmp_path), "u", 64, 100)
    assert unit.folders == [tmp_path / "u"]
    assert (tmp_path / "u/memory.max").read_text() == str(64 * 1024 * 1024)
    assert (tmp_path / "u/pids.max").read_text() == str(100 + cgroups.OWN_TASKS)
    (tmp_path / "u/memory.events").write_text("low 0\noom 1\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "u/memory.peak").write_text("4096\n")
    assert (unit.oom_kills(), unit.peak_bytes()) == (2, 4096)


def test_version_1_limits_each_controller_in_its_own_group(tmp_path: Path) -> None:
    memory, pids = tmp_path / "memory", tmp_path / "pids"
    memory.mkdir()
    pids.mkdir()
    unit = cgroups.create(Groups(version=1, memory=memory, pids=pids), "u", 64, 100)
    assert (memory / "u/memory.limit_in_bytes").read_text() == str(64 * 1024 * 1024)
    assert (pids / "u/pids.max").read_text() == str(100 + cgroups.OWN_TASKS)
    (memory / "u/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert unit.oom_kills() == 1
    cgroups.join(unit)
    assert (memory / "u/cgroup.procs").read_text() == (pids / "u/cgroup.procs").read_text() == "0"


def test_a_later_node_finds_a_units_groups_again(tmp_path: Path) -> None:
    unit = UnitGroups.from_json({"version": 1, "memory": str(tmp_path / "m"), "pids": str(tmp_path / "p")})
    assert UnitGroups.from_json(unit.to_json()) == unit
    for folder in unit.folders:
        folder.mkdir()
    assert unit.remove() and unit.remove()
    assert not any(folder.exists() for folder in unit.folders)


def test_without_groups_the_watchdog_stands_in() -> None:
    assert (Groups().memory_method, Groups().pids_method) == ("watchdog", "watchdog")
    assert UnitGroups(version=0).oom_kills() == 0 and UnitGroups(version=0).peak_bytes() is None
