"""The life of `up` with small real programs as components: start, restart, refusal, take-over, stop."""

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.settings import DataDir
from homeport.supervise.down import down
from homeport.supervise.drain import RealPlant
from homeport.supervise.processes import identify
from homeport.supervise.progress import PlainProgress
from homeport.supervise.state import UpState, read_state

BOUND_S = 20.0


class Up:
    """A running stand-in `up` whose lines are read with a bound."""

    def __init__(self, data: Path, *words: str) -> None:
        self.data = DataDir(data)
        self.lines: list[str] = []
        self._rest = b""
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "standin.py"), str(data), *words], stdout=subprocess.PIPE
        )

    def wait_line(self, start: str) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + BOUND_S
        seen = 0
        while time.monotonic() < deadline:
            for line in self.lines[seen:]:
                if line.startswith(start):
                    return line
            seen = len(self.lines)
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                block = os.read(self.process.stdout.fileno(), 65536)
                *whole, self._rest = (self._rest + block).split(b"\n")
                self.lines += [line.decode() for line in whole]
                if not block:
                    break
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def becomes_ready(self) -> bool:
        """Whether it gets there; False when it dies before."""
        try:
            self.wait_line("READY")
        except AssertionError:
            return False
        return True

    def ready(self) -> UpState:
        self.wait_line("READY")
        return self.state()

    def state(self) -> UpState:
        return read_state(self.data)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(BOUND_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def begin(*words: str) -> Up:
        started.append(Up(tmp_path / "data", *words))
        return started[-1]

    yield begin
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
        up.process.wait(BOUND_S)
        assert up.process.stdout is not None
        up.process.stdout.close()
    stop(DataDir(tmp_path / "data"))


def stop(data: DataDir) -> dict[str, Any] | None:
    return down(data, PlainProgress(), RealPlant(data), 0.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not fact():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_stop_ends_everything_in_order_and_exits_zero(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    state = up.ready()
    assert all(held.lives() for held in state.components.values())
    assert state.supervisor is not None and state.supervisor.pid == up.process.pid
    assert up.end(signal.SIGINT) == 0
    assert not any(held.lives() for held in state.components.values())
    after = up.state()
    assert (after.components, after.supervisor, after.ready) == ({}, None, False)
    up.lines.clear()
    up.wait_line("ok  node stopped")
    assert [line for line in up.lines if line.endswith(" stopped")] == [
        f"ok  {name} stopped" for name in ("envoy", "edge", "server", "node")
    ]


@pytest.mark.parametrize("name", ["server", "edge", "envoy", "node"])
def test_a_killed_component_is_started_again(start: Callable[..., Up], name: str) -> None:
    up = start("--port", str(free_port()))
    before = up.ready().components[name]
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: up.state().components.get(name, before) != before, "not restarted")
    assert up.state().components[name].lives()
    assert "was killed by SIGKILL" in up.wait_line(f"!   {name}")


def test_components_have_sessions_of_their_own(start: Callable[..., Up]) -> None:
    state = start("--port", str(free_port())).ready()
    for held in state.components.values():
        assert os.getsid(held.pid) == held.pid


def test_a_second_start_is_refused_with_the_pid_and_the_address(start: Callable[..., Up]) -> None:
    first = start("--port", str(free_port()))
    state = first.ready()
    second = start()
    refusal = second.wait_line("REFUSED")
    assert f"process {first.process.pid}" in refusal and str(state.port) in refusal
    assert second.process.wait(BOUND_S) == 1
    assert all(held.lives() for held in state.components.values())


def test_after_a_killed_up_the_next_one_goes_on_with_all_that_lives(start: Callable[..., Up]) -> None:
    first = start("--port", str(free_port()))
    before = first.ready()
    first.process.kill()
    first.process.wait(BOUND_S)
    assert all(held.lives() for held in before.components.values())
    after = start().ready()
    assert after.port == before.port
    assert after.components == before.components


def test_down_stops_a_running_up(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    state = up.ready()
    assert stop(up.data) is not None
    assert up.process.wait(BOUND_S) == 0
    assert not any(held.lives() for held in state.components.values())
    assert stop(up.data) is None


def test_down_stops_what_a_killed_up_left(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    state = up.ready()
    up.process.kill()
    up.process.wait(BOUND_S)
    assert stop(up.data) is not None
    assert not any(held.lives() for held in state.components.values())


def test_down_never_signals_a_process_that_took_over_the_pid(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    up.ready()
    assert up.end() == 0
    state = json.loads(up.data.state.read_text())
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        found = identify(stranger.pid)
        assert found is not None
        state["components"] = {"server": {**found.to_json(), "started": found.started - 1}}
        up.data.state.write_text(json.dumps(state))
        assert stop(up.data) is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_component_that_cannot_start_is_named_with_its_last_words(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()), "--broken", "envoy")
    assert "envoy ended 3 times" in up.wait_line("REFUSED")
    up.wait_line("  no luck today")
    assert up.process.wait(BOUND_S) == 1
    assert up.state().components == {}


def test_a_component_that_ignores_the_stop_is_killed(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()), "--stubborn", "server")
    state = up.ready()
    assert up.end() == 0
    assert not state.components["server"].lives()
    up.wait_line("!   server did not stop in time")


def test_a_second_request_to_stop_hurries(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()), "--stubborn", "server", "--grace", "600")
    state = up.ready()
    up.process.send_signal(signal.SIGINT)
    up.wait_line("ok  edge stopped")
    assert up.end(signal.SIGINT) == 0
    assert not any(held.lives() for held in state.components.values())


def test_a_given_port_that_is_taken_names_its_holder(start: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start("--port", str(port))
        refusal = up.wait_line("REFUSED")
        assert f"Port {port}" in refusal and f"process {os.getpid()}" in refusal
        assert up.process.wait(BOUND_S) == 1


def test_a_remembered_port_that_is_taken_gives_way_to_the_next_and_says_so(start: Callable[..., Up]) -> None:
    first = start("--port", str(free_port()))
    port = first.ready().port
    assert port is not None
    assert first.end() == 0
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        second = start()
        assert "using" in second.wait_line(f"!   Port {port} is taken")
        chosen = second.ready().port
        assert chosen is not None and chosen > port


def test_a_stop_during_the_start_leaves_nothing(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    up.wait_line("ok  node is up")
    assert up.end(signal.SIGINT) in (0, 130)
    assert up.state().components == {}


def test_killed_after_any_step_of_its_start_or_stop_the_next_up_and_down_work(start: Callable[..., Up]) -> None:
    port = str(free_port())
    words = ("--small", "--port", port)
    for step in itertools.count(1):
        dying = start(*words, "--die-at", str(step))
        code = dying.end() if dying.becomes_ready() else dying.process.wait(BOUND_S)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if step % 2:
            stop(dying.data)
        else:
            following = start(*words)
            following.ready()
            assert len(naming(port)) == 4, f"one of each after step {step}"
            assert following.end() == 0
        eventually(lambda: not naming(port), f"nothing is left after step {step}")
        after = dying.state()
        assert (after.components, after.ready, after.stopping) == ({}, False, None)
    assert step > 24, "there are as many steps as there are processes to write down, to start and to end"


def naming(port: str) -> list[int]:
    """The components for `port`: all of them have it in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if "standin.py" not in str(words) and any(word.endswith(port.encode()) for word in words):
                found.append(int(entry.name))
    return found


def test_a_stop_waits_for_what_is_under_way_and_says_what_it_stops(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--port", str(free_port()), "--busy", str(tmp_path / "done"))
    up.ready()
    up.process.send_signal(signal.SIGINT)
    up.wait_line("... letting 4 requests and 1 running task end, at most 30 s more")
    stopping = up.state().stopping
    assert stopping is not None and (stopping["tasks"], stopping["requests"]) == (1, 4)
    assert not up.state().ready
    (tmp_path / "done").touch()
    assert up.process.wait(BOUND_S) == 0
    up.wait_line("stopped: nothing was running")
    up.wait_line("at the next `homeport up`: 2 waiting tasks go on")
    stopped = up.state().stopped
    assert stopped is not None and (stopped["tasks"], stopped["waitingTasks"]) == (0, 2)


def test_a_stop_waits_no_longer_than_it_is_told(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--port", str(free_port()), "--busy", str(tmp_path / "never"), "--drain", "0.3")
    up.ready()
    assert up.end() == 0
    up.wait_line("stopped: 1 agent (3 replicas), 1 running task of 1 execution, 4 requests cut")
    up.wait_line("at the next `homeport up`: 1 agent starts again; 1 stopped task starts again, which costs no retry")
    stopped = up.state().stopped
    assert stopped is not None and 0.3 <= stopped["waitedSeconds"] < BOUND_S


def test_a_second_request_to_stop_waits_for_nothing(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--port", str(free_port()), "--busy", str(tmp_path / "never"))
    up.ready()
    up.process.send_signal(signal.SIGINT)
    up.wait_line("... letting")
    assert up.end(signal.SIGINT) == 0
    up.wait_line("stopped: 1 agent (3 replicas)")


def test_down_says_how_long_to_wait(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--port", str(free_port()), "--busy", str(tmp_path / "never"))
    up.ready()
    stopped = down(up.data, PlainProgress(), RealPlant(up.data), 0.2)
    assert stopped is not None and (stopped["tasks"], stopped["replicas"]) == (1, 3)
    assert up.process.wait(BOUND_S) == 0


def test_one_that_was_killed_while_it_stopped_leaves_only_its_node_to_the_next(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start("--port", str(free_port()), "--busy", str(tmp_path / "never"))
    before = up.ready().components
    up.process.send_signal(signal.SIGINT)
    up.wait_line("... letting")
    up.process.kill()
    up.process.wait(BOUND_S)
    after = start().ready().components
    assert {name for name in after if after[name] == before[name]} == {"node"}


def test_a_component_of_a_dead_up_that_does_not_answer_is_killed(start: Callable[..., Up]) -> None:
    first = start("--port", str(free_port()))
    before = first.ready()
    first.process.kill()
    first.process.wait(BOUND_S)
    os.kill(before.components["envoy"].pid, signal.SIGSTOP)
    second = start()
    after = second.ready()
    assert not before.components["envoy"].lives() and after.components["node"] == before.components["node"]
    second.wait_line("!   envoy of the earlier start does not answer and is killed")


def test_down_stops_an_up_that_is_halted(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    up.ready()
    os.kill(up.process.pid, signal.SIGSTOP)
    assert stop(up.data) is not None
    assert up.process.wait(BOUND_S) == 0


def test_a_component_of_another_boot_is_nobody(start: Callable[..., Up]) -> None:
    up = start("--port", str(free_port()))
    up.ready()
    assert up.end() == 0
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        try:
            found = identify(stranger.pid)
            assert found is not None
            state = json.loads(up.data.state.read_text())
            earlier = {**found.to_json(), "boot": "00000000-0000-0000-0000-000000000000"}
            state |= {"supervisor": earlier, "components": dict.fromkeys(state["components"] or ["node"], earlier)}
            up.data.state.write_text(json.dumps(state))
            assert stop(up.data) is None
            assert start().ready().components["node"] != found
            assert stranger.poll() is None
        finally:
            stranger.kill()
