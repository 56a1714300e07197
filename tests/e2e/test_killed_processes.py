"""Any process of Homeport may be killed, or hang, under load: what runs goes on, nothing is cut without need."""

import contextlib
import json
import resource
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from homeport.load.plan import Expectation, Plan
from homeport.load.tally import Cause
from homeport.load.thread import Load, running_load
from homeport.supervise.processes import Handle, ProcessId, identify
from homeport.supervise.real import components
from homeport.supervise.state import UpState, read_state
from homeport.supervise.up import UpOptions
from homeport.testing.system import BOUND_S, System, eventually

# Answers with its process id, and at /LINES/NAME with a stream of numbered lines, which takes about a second.
PROGRAM = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        lines = self.path.split("/")[1]
        if not lines:
            body = str(os.getpid()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(lines)):
            line = b"%d\\n" % number
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line))
            time.sleep(0.01)
        self.wfile.write(b"0\\r\\n\\r\\n")

    do_POST = do_GET

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
LINES = 100
# Counts aloud for the seconds that it is told.
COUNTER = """
import os, time

end = time.monotonic() + float(os.environ["SECONDS"])
number = 0
while time.monotonic() < end:
    print(number, flush=True)
    number += 1
    time.sleep(0.05)
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("killed") / "data")
    system.up()
    try:
        spec = {"runtime": {"minScale": 2}}
        assert system.deploy("agents", "warm", {"main.py": PROGRAM}, spec)["status"] == "DEPLOYED"
        counter = {"main.py": COUNTER}
        assert system.deploy("jobs", "count", counter, {"runtime": {"memory": 128}})["status"] == "DEPLOYED"
        yield system
    finally:
        system.down()


@contextlib.contextmanager
def traffic(system: System) -> Iterator[list[Load]]:
    """Small requests on kept and on new connections, and streams, as the block begins in full flow."""
    headers = {"Authorization": f"Bearer {system.key}"}
    url = f"{system.url}/default/agents/warm"
    whole = Expectation(numbered=True, lines=LINES)
    plans = [
        Plan(url=f"{url}/", headers=headers, concurrency=4, rate=60.0),
        Plan(url=f"{url}/", headers=headers, concurrency=4, rate=30.0, new_connections=True),
        Plan(url=f"{url}/{LINES}/stream", headers=headers, concurrency=4, expect=whole),
    ]
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(running_load(plan)) for plan in plans]
        eventually(lambda: all(load.so_far().ok >= 4 for load in loads), "traffic flows")
        yield loads


def flows_on(loads: list[Load]) -> None:
    """Every kind of request has been answered several times from now on."""
    before = [load.so_far().ok for load in loads]
    eventually(
        lambda: all(load.so_far().ok >= done + 8 for load, done in zip(loads, before, strict=True)), "traffic flows on"
    )


def state(system: System) -> UpState:
    return read_state(system.data)


def kill(process: ProcessId, number: signal.Signals = signal.SIGKILL) -> None:
    with Handle.open(process) as handle:  # type: ignore[union-attr]
        handle.send(number)


def restarted(system: System, name: str, before: ProcessId) -> None:
    eventually(lambda: state(system).components.get(name, before) != before, f"{name} is started again")


def readyz(system: System) -> int:
    return system.api.get(f"{system.url}/readyz").status_code


def replicas(system: System) -> set[int]:
    """The process ids of the agent's replicas, as they tell them."""
    return {int(system.gateway.get("/agents/warm/").text) for _ in range(20)}


def begin_counting(system: System, seconds: float, tasks: int = 1) -> str:
    answer = system.api.post(
        "/jobs/count/executions", json={"tasks": [{} for _ in range(tasks)], "env": {"SECONDS": str(seconds)}}
    )
    assert answer.status_code == 200, answer.text
    execution: str = answer.json()["executionId"]
    eventually(lambda: progress(system, execution)["running"] == tasks, "the tasks run")
    return execution


def progress(system: System, execution: str) -> dict[str, Any]:
    found: dict[str, Any] = system.api.get(f"/jobs/count/executions/{execution}").json()["stats"]
    return found


def counted_without_a_gap(system: System, execution: str) -> None:
    ended = system.ended("count", execution)
    assert (ended["status"], ended["tasks"][0]["attempts"]) == ("succeeded", 1)
    lines = [line["text"] for line in system.logs("jobs", "count", execution=execution)]
    assert lines[-1] == "done" and lines[:-1] == [str(number) for number in range(len(lines) - 1)]


def test_every_component_answers_what_it_is_asked_for_a_sign_of_life(running: System) -> None:
    for component in components(UpOptions(data=running.data), running.port):
        assert component.question is not None
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(BOUND_S)
            connection.connect(str(component.question.socket))
            connection.sendall(component.question.text)
            assert connection.recv(100), component.name


def test_every_process_may_open_what_the_machine_allows(running: System) -> None:
    supervisor = state(running).supervisor
    assert supervisor is not None
    for process in (supervisor, *state(running).components.values()):
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard


@pytest.mark.parametrize("name", ["server", "edge", "node"])
def test_warm_requests_streams_and_tasks_go_on_when_one_is_killed(running: System, name: str) -> None:
    before = state(running)
    programs = replicas(running)
    execution = begin_counting(running, seconds=6)
    with traffic(running) as loads:
        kill(before.components[name])
        restarted(running, name, before.components[name])
        eventually(lambda: readyz(running) == 200, "ready again")
        flows_on(loads)
    for load in loads:
        assert load.report.sound, load.report
    after = state(running)
    assert {one for one in after.components if after.components[one] != before.components[one]} == {name}
    assert replicas(running) == programs
    counted_without_a_gap(running, execution)


def test_when_envoy_is_killed_only_what_is_in_flight_is_cut_and_it_is_back_at_once(running: System) -> None:
    before = state(running)
    programs = replicas(running)
    execution = begin_counting(running, seconds=4)
    with traffic(running) as loads:
        kill(before.components["envoy"])
        restarted(running, "envoy", before.components["envoy"])
        flows_on(loads)
        failures = [load.so_far().failed for load in loads]
        flows_on(loads)
        assert [load.so_far().failed for load in loads] == failures, "nothing fails any more once it is back"
    for load in loads:
        report = load.report
        assert set(report.causes) <= {Cause.RESET, Cause.CUT, Cause.REFUSED}, report
        in_flight = report.causes.get(Cause.RESET, 0) + report.causes.get(Cause.CUT, 0)
        assert in_flight <= 2 * 4, report  # those of the moment, and of the moment in which it begins to listen
    assert loads[0].report.longest_gap_s < 5, loads[0].report  # a tenth of a second on a machine at rest
    after = state(running)
    assert {one for one in after.components if after.components[one] != before.components[one]} == {"envoy"}
    assert replicas(running) == programs
    counted_without_a_gap(running, execution)


def test_a_killed_up_is_followed_by_one_that_cuts_nothing(running: System) -> None:
    before = state(running)
    programs = replicas(running)
    execution = begin_counting(running, seconds=6)
    with traffic(running) as loads:
        assert before.supervisor is not None
        kill(before.supervisor)
        eventually(lambda: not before.supervisor.lives(), "up is dead")  # type: ignore[union-attr]
        flows_on(loads)
        done = running.command("up", "--detach")
        assert done.returncode == 0, done.stdout + done.stderr
        flows_on(loads)
    for load in loads:
        assert load.report.sound, load.report
    assert state(running).components == before.components and state(running).supervisor != before.supervisor
    assert replicas(running) == programs
    counted_without_a_gap(running, execution)


def test_the_next_up_starts_what_died_with_the_one_before_and_keeps_the_rest(running: System) -> None:
    before = state(running)
    programs = replicas(running)
    assert before.supervisor is not None
    for process in (before.supervisor, before.components["server"], before.components["node"]):
        kill(process)
    eventually(lambda: identify(before.components["node"].pid) is None, "the node is dead")
    done = running.command("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    after = state(running)
    assert {one for one in after.components if after.components[one] == before.components[one]} == {"edge", "envoy"}
    assert replicas(running) == programs


def test_components_that_are_halted_and_go_on_have_lost_nothing(running: System) -> None:
    before = state(running)
    execution = begin_counting(running, seconds=4)
    halted = ("server", "edge", "node")
    with traffic(running) as loads:
        for name in halted:
            kill(before.components[name], signal.SIGSTOP)
        flows_on(loads)
        for name in halted:
            kill(before.components[name], signal.SIGCONT)
        eventually(lambda: readyz(running) == 200, "ready again")
    for load in loads:
        assert load.report.sound, load.report
    assert state(running).components == before.components
    counted_without_a_gap(running, execution)


def test_a_second_up_beside_a_halted_one_says_how_it_goes_on(running: System) -> None:
    supervisor = state(running).supervisor
    assert supervisor is not None
    kill(supervisor, signal.SIGSTOP)
    try:
        refused = running.command("up", "--detach")
    finally:
        kill(supervisor, signal.SIGCONT)
    assert refused.returncode == 1
    assert f"process {supervisor.pid}, halted by a signal at {running.url}" in refused.stderr
    assert f"`kill -CONT {supervisor.pid}` lets it go on" in refused.stderr


def test_a_stop_lets_streams_and_tasks_end_and_says_what_goes_on_next_time(running: System) -> None:
    execution = begin_counting(running, seconds=7, tasks=2)
    headers = {"Authorization": f"Bearer {running.key}"}
    plan = Plan(
        url=f"{running.url}/default/agents/warm/500/stream",
        headers=headers,
        requests=3,
        concurrency=3,
        expect=Expectation(numbered=True, lines=500),
    )
    with running_load(plan) as load:
        eventually(lambda: load.so_far().in_flight == 3, "streams flow")
        with running.begun("down", "-o", "json") as stop:
            eventually(lambda: readyz(running) == 503, "it is about to stop")
            assert "Homeport is about to stop" in running.api.get("/homeport/status").json()["notes"][0]
            late = running.api.post("/jobs/count/executions", json={"tasks": [{}], "env": {"SECONDS": "0"}})
            assert late.status_code == 200, "what is accepted now is carried out later"
            before = state(running).components
            for name in ("server", "node"):  # they come back, and still start nothing new
                kill(before[name])
            said, told = stop.communicate(timeout=BOUND_S)
    assert load.report.sound, load.report
    assert stop.returncode == 0, told
    stopped = json.loads(said)
    assert (stopped["tasks"], stopped["requests"], stopped["agents"], stopped["replicas"]) == (0, 0, 1, 2)
    assert stopped["waitingTasks"] == 1
    assert "1 waiting task goes on" in stopped["resumes"]
    assert "2 running tasks end, at most 30 s more" in told

    running.up()
    assert [task["attempts"] for task in running.ended("count", execution)["tasks"]] == [1, 1]
    assert running.ended("count", late.json()["executionId"])["status"] == "succeeded"


def test_a_stop_waits_no_longer_than_it_was_told_and_says_what_it_interrupted(running: System) -> None:
    begin_counting(running, seconds=600)
    done = running.command("down", "--drain", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped: 1 agent (2 replicas), 1 running task of 1 execution" in done.stdout
    assert "1 stopped task starts again, which costs no retry" in done.stdout
