"""`homeport up` and `down` with the real node, server, edge and Envoy."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.settings import DataDir
from homeport.supervise.state import UpState, read_state

HOMEPORT = [sys.executable, "-c", "from homeport.cli.main import run; run()"]
BOUND_S = 120.0


def homeport(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HOMEPORT, *words], env=environment(), capture_output=True, text=True, timeout=BOUND_S, check=False, **options
    )


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "HOMEPORT_"))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(fact: Callable[[], bool], what: str, bound_s: float = 60.0) -> None:
    deadline = time.monotonic() + bound_s
    while not fact():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def ready(state: UpState) -> bool:
    try:
        with urllib.request.urlopen(f"{state.url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def naming(data: Path) -> list[int]:
    """Every living process with the data directory in its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(data) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a detached Homeport that is ready."""
    root = tmp_path_factory.mktemp("up") / "data"
    started = homeport("up", "--data", str(root), "--port", str(free_port()), "--detach")
    assert started.returncode == 0, started.stderr
    assert "Homeport is ready at http://127.0.0.1:" in started.stdout
    yield root
    homeport("down", "--data", str(root))
    assert naming(root) == []


def test_detached_it_is_ready_at_once(data: Path) -> None:
    state = read_state(DataDir(data))
    assert ready(state)
    assert set(state.components) == {"node", "server", "edge", "envoy"}
    assert all(held.lives() for held in state.components.values())


def test_the_first_key_is_private_and_works(data: Path) -> None:
    assert stat.S_IMODE((data / "admin-key").stat().st_mode) == 0o600
    shown = homeport("status", "--data", str(data), "-o", "json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["workspace"] == "default"


def test_a_second_start_is_refused(data: Path) -> None:
    state = read_state(DataDir(data))
    refused = homeport("up", "--data", str(data), "--detach")
    assert refused.returncode == 1
    assert state.supervisor is not None
    assert f"process {state.supervisor.pid}" in refused.stderr and str(state.port) in refused.stderr
    assert ready(state)


def test_a_taken_port_is_refused_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    state = read_state(DataDir(data))
    refused = homeport("up", "--data", str(tmp_path / "other"), "--port", str(state.port), "--detach")
    assert refused.returncode == 1
    assert f"Port {state.port}" in refused.stderr and "envoy" in refused.stderr
    assert naming(tmp_path / "other") == []


def test_a_data_directory_that_cannot_be_made_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = homeport("up", "--data", str(tmp_path / "file" / "data"), "--detach")
    assert refused.returncode == 2
    assert "--data" in refused.stderr


@pytest.mark.parametrize("name", ["server", "edge", "envoy"])
def test_a_killed_component_comes_back(data: Path, name: str) -> None:
    state = read_state(DataDir(data))
    before = state.components[name]
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: read_state(DataDir(data)).components.get(name, before) != before, f"{name} is not restarted")
    eventually(lambda: ready(state), "not ready again")
    assert read_state(DataDir(data)).components["node"] == state.components["node"]


def test_a_killed_node_comes_back(data: Path) -> None:
    state = read_state(DataDir(data))
    os.kill(state.components["node"].pid, signal.SIGKILL)
    eventually(lambda: read_state(DataDir(data)).components.get("node") not in (None, state.components["node"]), "gone")
    eventually(lambda: ready(state), "not ready again")


def test_after_a_killed_up_the_next_one_takes_over_what_lives(data: Path) -> None:
    before = read_state(DataDir(data))
    assert before.supervisor is not None
    os.kill(before.supervisor.pid, signal.SIGKILL)
    eventually(lambda: before.supervisor is None or not before.supervisor.lives(), "up still lives")
    assert ready(before), "the system goes on without its supervisor"
    started = homeport("up", "--data", str(data), "--detach")
    assert started.returncode == 0, started.stderr
    after = read_state(DataDir(data))
    assert after.port == before.port and ready(after)
    assert after.components == before.components


def test_the_environment_serves_the_public_sdk(data: Path) -> None:
    shown = homeport("env", "--data", str(data), "-o", "json")
    program = (
        "from blaxel.core import client, settings\n"
        "from blaxel.core.client.api.agents import list_agents\n"
        "answer = list_agents.sync_detailed(client=client)\n"
        "print(settings.base_url, settings.run_url, int(answer.status_code))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(), **json.loads(shown.stdout)},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    url = read_state(DataDir(data)).url
    assert done.stdout.split() == [f"{url}/v0", url, "200"], done.stderr


def test_a_second_start_finds_everything_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    words = [*HOMEPORT, "up", "--data", str(root)]
    policy = (
        "kind: Policy\nmetadata: {name: anywhere}\nspec: {type: location, locations: [{type: continent, name: EU}]}\n"
    )

    first = subprocess.Popen([*words, "--port", str(free_port())], env=environment(), stdout=subprocess.PIPE, text=True)
    await_ready(first)
    state = read_state(DataDir(root))
    key = (root / "admin-key").read_text()
    assert homeport("apply", "--data", str(root), "-f", "-", input=policy).returncode == 0
    interrupt(first)
    assert naming(root) == []
    assert not any(held.lives() for held in state.components.values())

    second = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)
    await_ready(second)
    assert read_state(DataDir(root)).port == state.port
    assert (root / "admin-key").read_text() == key
    found = homeport("get", "policy", "anywhere", "--data", str(root), "-o", "json")
    assert found.returncode == 0, found.stderr
    interrupt(second)
    assert naming(root) == []


def await_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Stop it with"):  # the last line of the welcome
            return
    raise AssertionError(f"it ended with {process.wait()} before it was ready")


def interrupt(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()
    assert process.wait(BOUND_S) == 0
