"""`homeport gc` on a real system: it finds nothing where nothing was left, and one of each kind that was."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.core.clock import SystemClock
from homeport.leaks.look import leaks
from homeport.leaks.machine import groups
from homeport.node.cgroups import freezer_of, installation_name
from homeport.supervise.processes import identify
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
ACCOUNT = (
    "INSERT INTO accounts (client_id, workspace, name, description, role, owner_uid, created_at, updated_at) "
    "VALUES ('wl-ghost', 'default', 'ghost', '', 'workload', 'gone', 1, 1)"
)
LONG_AGO = SystemClock().now().timestamp() - 24 * 3600


@pytest.fixture
def own(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path / "data")
    running.up()
    yield running
    running.down()


def gc(system: System, *words: str) -> tuple[int, dict[str, Any]]:
    done = system.command("gc", "--wait", "0.5", "-o", "json", *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kinds(answer: dict[str, Any]) -> list[str]:
    return sorted(finding["kind"] for finding in answer["findings"])


def test_one_of_each_kind_that_was_left_is_found_and_what_is_safe_is_removed(own: System) -> None:
    assert gc(own, "--dry-run")[0] == 0
    data = own.data
    units = data.node / "units"
    started = [
        _running([sys.executable, "-c", SLEEP, "homeport.edge", "--data", str(data.root)], {}),
        _running([sys.executable, "-c", SLEEP], {"HOME": str(units / "ghost" / "home")}),
    ]
    try:
        (units / "ghost" / "home").mkdir(parents=True)
        (data.sources / "nobodys.zip").write_text("x")
        os.utime(data.sources / "nobodys.zip", (LONG_AGO, LONG_AGO))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(data.sockets / "old.sock"))
        os.utime(data.sockets / "old.sock", (LONG_AGO, LONG_AGO))
        expected = ["directory", "process", "process", "row", "socket", "source"]
        bases = [entry.path for entry in groups(installation_name(data.root)) if entry.name.startswith("homeport-")]
        for base in bases:  # none where this machine gives Homeport no control groups
            (base / "ghost").mkdir()
        _write(data.database, ACCOUNT)

        code, seen = gc(own, "--dry-run")

        assert code == 1
        assert kinds(seen) == sorted([*expected, *("cgroup" for _ in bases)])
        assert (units / "ghost").exists() and started[0].poll() is None, "a dry run changes nothing"
        assert "its workload is gone" in own.command("gc", "--dry-run", "--wait", "0").stdout

        code, seen = gc(own)

        assert code == 1
        stays = {finding["kind"]: finding["stays"] for finding in seen["findings"] if finding["stays"]}
        assert stays == {"row": "only told", "source": "the running server may still use it"}
        assert [process.wait(10) for process in started] == [-signal.SIGTERM] * 2
        assert not (units / "ghost").exists()
        assert kinds(gc(own, "--dry-run")[1]) == ["row", "source"]
    finally:
        _write(data.database, "DELETE FROM accounts WHERE client_id = 'wl-ghost'")
        (data.sources / "nobodys.zip").unlink(missing_ok=True)
        for process in started:
            process.kill()
            process.wait()


def test_programs_that_outlived_everything_are_found_and_ended(own: System) -> None:
    own.deploy("jobs", "long", {"main.py": SLEEP})
    execution = own.api.post("/jobs/long/executions", json={"tasks": [{}]}).json()["executionId"]
    eventually(lambda: own.logs("job", "long", execution=execution), "the task runs")
    state = read_state(own.data)
    assert state.supervisor is not None
    assert leaks(own.data, 0.5) == []
    killed = (state.supervisor, *state.components.values())
    for identity in killed:
        os.kill(identity.pid, signal.SIGKILL)
    eventually(lambda: not any(identify(one.pid) for one in killed), "all are dead")

    found = leaks(own.data, 1.0)

    assert {"process"} <= {finding.kind for finding in found} <= {"process", "socket", "directory", "cgroup"}
    assert any("nothing of Homeport runs" in finding.why for finding in found)
    for finding in found:  # those that were frozen hear of their end, too
        if finding.pid and (freezer := freezer_of(finding.pid, installation_name(own.data.root))):
            freezer.ask(True)
    gc(own)
    assert leaks(own.data, 1.0) == []
    own.api.close()
    own.gateway.close()
    own.up()
    assert own.ended("long", execution)["status"] in ("failed", "succeeded")
    assert leaks(own.data) == []


def test_down_ends_programs_that_outlived_everything(own: System) -> None:
    own.deploy("jobs", "long", {"main.py": SLEEP})
    execution = own.api.post("/jobs/long/executions", json={"tasks": [{}]}).json()["executionId"]
    eventually(lambda: own.logs("job", "long", execution=execution), "the task runs")
    state = read_state(own.data)
    assert state.supervisor is not None
    for identity in (state.supervisor, *state.components.values()):
        os.kill(identity.pid, signal.SIGKILL)

    assert own.command("down", "--drain", "0").returncode == 0

    assert leaks(own.data, 1.0) == []
    assert read_state(own.data).components == {}
    assert "Nothing of Homeport runs" in own.command("down").stdout


def _running(words: list[str], env: dict[str, str]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        words, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.stdout.close()
    return process


def _write(database: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)
