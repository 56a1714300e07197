"""Descriptors that are used up: by idle connections to the gateway, and to server and edge behind it."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bench.machine import cpu_s
from homeport.core.open_files import connections
from homeport.supervise.probe import ready_on
from homeport.supervise.state import read_state
from homeport.testing.system import BOUND_S, System, eventually

FILES = 1000  # of each process
WATCH_S = 2.0


class _Limited(System):
    """A Homeport each of whose processes may open `FILES` files."""

    def command(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "HOMEPORT_"))}
        limited = ["/bin/sh", "-c", f'ulimit -n {FILES} && exec "$@"', "limited"]
        run = [sys.executable, "-c", "from homeport.cli.main import run; run()", *words]
        return subprocess.run(
            [*limited, *run],
            env=env | {"HOMEPORT_DATA": str(self.data.root)},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * FILES:
        pytest.skip(f"this test needs {4 * FILES} files itself, and may open {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * FILES, hard))
    system = _Limited(tmp_path_factory.mktemp("limited") / "data")
    system.up()
    yield system
    system.down()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_connections_to_the_gateway_keep_nobody_busy_and_what_is_connected_is_served(limited: System) -> None:
    with httpx.Client() as before:
        assert before.get(f"{limited.url}/readyz").status_code == 200
        with _idle(lambda: socket.create_connection(("127.0.0.1", limited.port)), connections(FILES) + 300):
            _assert_quiet(limited)
            assert before.get(f"{limited.url}/readyz").status_code == 200
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{limited.url}/readyz")
    eventually(lambda: _answers(limited), "it takes connections again")


@pytest.mark.parametrize("component", ["server", "edge"])
def test_a_process_whose_files_are_used_up_neither_spins_nor_stays_away(limited: System, component: str) -> None:
    path = limited.data.socket(component)
    pid = read_state(limited.data).components[component].pid

    def connect() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            raise
        return client

    with _idle(connect, 2 * FILES):
        used = eventually(lambda: (count := len(os.listdir(f"/proc/{pid}/fd"))) >= FILES - 10 and count, "none is left")
        assert used <= FILES
        _assert_quiet(limited)
    if component == "server":
        eventually(lambda: ready_on(path)[0], "the server answers again")
    eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) < FILES // 2, "the files are given back")
    assert read_state(limited.data).components[component].pid == pid, "nobody had to restart it"
    eventually(lambda: _answers(limited), "Homeport is ready")
    assert len((limited.data.logs / f"{component}.log").read_text()) < 200_000


@contextlib.contextmanager
def _idle(connect: Callable[[], socket.socket], count: int) -> Iterator[None]:
    """`count` connections on which nothing is sent, or as many as are taken."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            try:
                stack.enter_context(connect())
            except OSError:
                break  # the queue of those that wait is full
        yield


def _assert_quiet(system: System) -> None:
    """All processes together use less than half a core while they are asked nothing."""
    state = read_state(system.data)
    pids = [held.pid for held in state.components.values()]
    time.sleep(0.5)  # what was begun is done
    before = sum(cpu_s(pid) for pid in pids)
    time.sleep(WATCH_S)  # what is measured is rest
    assert sum(cpu_s(pid) for pid in pids) - before < WATCH_S / 2


def _answers(system: System) -> bool:
    try:
        return httpx.get(f"{system.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
