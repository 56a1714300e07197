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


def test_a_cpu_limit_is_a_quota_in_the_group_of_either_version(tmp_path: Path) -> None:
    cgroups.create(Groups(version=2, memory=tmp_path, pids=tmp_path, cpu=tmp_path), "two", 64, 100, 0.5)
    assert (tmp_path / "two/cpu.max").read_text() == "50000 100000"
    unit = cgroups.create(Groups(version=1, cpu=tmp_path), "one", 64, 100, 2)
    assert (tmp_path / "one/cpu.cfs_quota_us").read_text() == "200000"
    assert (tmp_path / "one/cpu.cfs_period_us").read_text() == "100000"
    assert unit.folders == [tmp_path / "one"] and UnitGroups.from_json(unit.to_json()) == unit


def test_a_unit_without_a_cpu_limit_has_no_group_for_it(tmp_path: Path) -> None:
    assert cgroups.create(Groups(version=1, cpu=tmp_path), "u", 64, 100).folders == []
    assert cgroups.create(Groups(version=0), "u", 64, 100, 1.0).folders == []
    assert (Groups(version=1, cpu=tmp_path).cpu_method, Groups().cpu_method) == ("cgroup v1", "none")
