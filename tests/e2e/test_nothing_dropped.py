"""Every request is counted, streams and bodies of 10 MB included, while an agent gets more replicas and fewer, while
one of them dies, and while the gateway is told of hundreds of changes: only what was in the one that died fails."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from homeport.core.ids import Kind
from homeport.load.plan import Expectation, Plan
from homeport.load.tally import Cause
from homeport.load.thread import Load, running_load
from homeport.reconcile.observation import Workload, read_workload
from homeport.store.contract import Transaction
from homeport.store.sqlite import read_beside
from homeport.testing.system import System, eventually
from homeport.workloads.rollout import restart_wait_s
from homeport.workloads.states import ReplicaState

# GET /N streams N numbered lines, 10 ms apart; POST answers with the body; DELETE ends the program, which says with how
# many requests in it.
PROGRAM = """
import http.server, os, threading, time

inside, lock = 0, threading.Lock()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        global inside
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        with lock:
            inside += 1
        try:
            getattr(self, "do_" + self.command)()
            self.wfile.flush()
        finally:
            with lock:
                inside -= 1

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(self.path[1:])):
            line = b"%d\\n" % number
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line))
            time.sleep(0.01)
        self.wfile.write(b"0\\r\\n\\r\\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self):
        print(f"dies with {inside} requests in it", flush=True)
        os._exit(3)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
MB_10 = bytes(range(256)) * 40_000
LINES = 150  # of a stream: 1.5 s
REPLICAS = 3
CHANGES = 150  # of each of two agents
DYING_S = 0.2  # generous: until the last of its connections is closed, a program that dies still takes requests
SPEC = {"runtime": {"memory": 256}}


@pytest.fixture(scope="module")
def agent(system: System) -> Iterator[str]:
    for name in ("steady", "other"):
        assert system.deploy("agents", name, {"main.py": PROGRAM}, SPEC)["status"] == "DEPLOYED"
    yield "steady"
    for name in ("steady", "other"):
        system.remove("agents", name)


def stored(system: System, name: str) -> Workload:
    def read(tx: Transaction) -> Workload:
        found = tx.resources.get("default", Kind.AGENT, name)
        assert found is not None
        return read_workload(found, tx)

    return read_beside(system.data.database, read)


def order(system: System, name: str, **spec: Any) -> None:
    """An update that changes nothing of what runs."""
    runtime = {**SPEC["runtime"], **spec.pop("runtime", {})}
    answer = system.api.put(f"/agents/{name}", json={"metadata": {"name": name}, "spec": {"runtime": runtime, **spec}})
    assert answer.status_code == 200, answer.text


def plans(system: System, name: str) -> dict[str, Plan]:
    url, headers = f"{system.url}/default/agents/{name}", {"Authorization": f"Bearer {system.key}"}
    stream = Expectation(numbered=True, lines=LINES)
    return {
        "short": Plan(url=f"{url}/1", headers=headers, concurrency=4, expect=Expectation(lines=1)),
        "new connections": Plan(
            url=f"{url}/1", headers=headers, concurrency=2, new_connections=True, rate=40, expect=Expectation(lines=1)
        ),
        "streams": Plan(url=f"{url}/{LINES}", headers=headers, concurrency=6, expect=stream),
        "10 MB": Plan(
            url=f"{url}/", method="POST", headers=headers, body=MB_10, concurrency=1,
            expect=Expectation(size=len(MB_10)),
        ),
    }  # fmt: skip


@contextmanager
def loads(system: System, name: str, *without: str) -> Iterator[dict[str, Load]]:
    with ExitStack() as stack:
        chosen = {kind: plan for kind, plan in plans(system, name).items() if kind not in without}
        running = {kind: stack.enter_context(running_load(plan)) for kind, plan in chosen.items()}
        eventually(lambda: all(load.so_far().ok for load in running.values()), "each load has had an answer")
        yield running


def has_replicas(system: System, name: str, count: int) -> bool:
    found = stored(system, name).replicas
    return len(found) == count and all(one.state is ReplicaState.READY for one in found)


def has_restarted(system: System, name: str, times: int) -> bool:
    (found,) = stored(system, name).replicas
    return found.restarts == times and found.state is ReplicaState.READY


def test_more_replicas_and_fewer_drop_nothing_and_restart_nothing(system: System, agent: str) -> None:
    before = stored(system, agent)
    with loads(system, agent) as running:
        order(system, agent, runtime={"minScale": REPLICAS})
        eventually(lambda: has_replicas(system, agent, REPLICAS), f"{REPLICAS} replicas are ready")
        answered = running["streams"].so_far().ok
        eventually(lambda: running["streams"].so_far().ok > answered + 6, "streams went to all of them")
        order(system, agent, runtime={"minScale": 1})
        eventually(lambda: has_replicas(system, agent, 1), "one is left")
    for kind, load in running.items():
        assert load.report.sound, f"{kind}: {load.report}"
    after = stored(system, agent)
    assert [one.id for one in after.revisions] == [one.id for one in before.revisions]
    assert [(one.id, one.unit) for one in after.replicas] == [(one.id, one.unit) for one in before.replicas]


def test_of_a_replica_that_dies_only_the_requests_in_it_fail_and_its_last_words_are_told(
    system: System, agent: str
) -> None:
    with loads(system, agent, "10 MB") as running:
        eventually(lambda: running["streams"].so_far().in_flight == 6, "streams flow")
        assert system.gateway.delete(f"/agents/{agent}").status_code in (502, 503)
        ended_at = time.monotonic()
        eventually(lambda: has_restarted(system, agent, 1), "it is back")
        assert time.monotonic() - ended_at >= restart_wait_s(1) * 0.9
        for load in running.values():
            answered = load.so_far().ok
            eventually(lambda load=load, answered=answered: load.so_far().ok > answered, "it answers")  # type: ignore[misc]
    assert running["streams"].report.failed >= 6, running["streams"].report
    for kind, load in running.items():
        report = load.report
        assert not (report.abandoned or report.unsent), f"{kind}: {report}"
        assert {*report.causes} <= {Cause.CUT, Cause.STATUS, Cause.RESET}, f"{kind}: {report}"
        # What came later waited for the next one, a second and more.
        late = [one for one in report.failures if report.began_s + one.began_s > ended_at + DYING_S]
        assert not late, f"{kind}: {report}"
    (told,) = [one for one in events(system, agent) if one["reason"] == "ReplicaEnded"]
    words = re.search(r"exit code 3\. Its last lines: .*dies with (\d+) requests in it", told["message"])
    assert words and int(words[1]) >= 7, told  # the request that ended it is one of them


def test_one_that_dies_again_and_again_waits_longer_each_time(system: System, agent: str) -> None:
    (first,) = stored(system, agent).replicas
    for times in (first.restarts + 1, first.restarts + 2):
        assert system.gateway.delete(f"/agents/{agent}").status_code in (502, 503)
        ended_at = time.monotonic()
        eventually(partial(has_restarted, system, agent, times), "it is counted, and it is back")
        assert time.monotonic() - ended_at >= restart_wait_s(times) * 0.9
    told = [one["message"] for one in events(system, agent) if one["reason"] == "ReplicaEnded"]
    assert len(told) >= 2 and all("dies with 1 requests in it" in message for message in told[-2:]), told


def test_hundreds_of_changes_of_the_gateway_drop_nothing(system: System, agent: str) -> None:
    with loads(system, agent) as running:
        for number in range(CHANGES):
            for name in (agent, "other"):
                order(system, name, public=number % 2 == 0)
    for kind, load in running.items():
        assert load.report.sound, f"{kind}: {load.report}"


def events(system: System, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.api.get(f"/agents/{name}").json()["events"]
    return sorted(found, key=lambda one: one["time"])
