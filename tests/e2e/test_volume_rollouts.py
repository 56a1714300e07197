"""Deployments of an agent that writes to a volume: one program after the other, never two, and nobody who calls
meanwhile is turned away."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.load.plan import Plan
from homeport.load.thread import running_load
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

# Counts its calls in a file, and notes where another one lives that has the volume, too.
PROGRAM = """
import fcntl, http.server, os, signal, sys, threading

VERSION = "1"

lock = open("/data/lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open("/data/overlap", "a").write(VERSION)
open("/data/starts", "a").write(VERSION)
turn = threading.Lock()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        with turn, open("/data/calls", "a") as calls:
            calls.write("x")
        body = f"{VERSION} {os.path.getsize('/data/calls')} {open('/data/starts').read()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
SPEC: dict[str, Any] = {"region": "local", "volumes": [{"name": "data", "mountPath": "/data"}]}
NOW = {**SPEC, "revision": {"traffic": 100}}  # after a rollback, which else keeps what is newer


def files(version: str) -> dict[str, str]:
    return {"main.py": PROGRAM.replace('VERSION = "1"', f'VERSION = "{version}"')}


def ask(system: System) -> list[str]:
    """The version that answers, how many calls there were, and which versions were started until now."""
    answer = system.gateway.post("/agents/writer", json={})
    assert answer.status_code == 200, answer.text
    return answer.text.split()


def content(system: System) -> Path:
    (found,) = (path for path in system.data.volumes.iterdir() if path.name != "trash")
    return found / "content"


def load_on(system: System) -> Plan:
    headers = {"Authorization": f"Bearer {system.key}"}
    url = f"{system.url}/default/agents/writer"
    return Plan(url=url, method="POST", headers=headers, body=b"{}", concurrency=4, timeout_s=60)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own, whose components are killed."""
    running = System(tmp_path_factory.mktemp("volumes") / "data")
    running.up()
    answer = running.api.post("/volumes", json={"metadata": {"name": "data"}, "spec": {"region": "local", "size": 64}})
    assert answer.status_code == 200, answer.text
    assert running.deploy("agents", "writer", files("1"), SPEC)["status"] == "DEPLOYED"
    yield running
    assert not (content(running) / "overlap").exists(), "two programs had the volume at once"
    running.remove("agents", "writer")
    eventually(lambda: running.api.delete("/volumes/data").status_code == 200, "the volume is free")
    eventually(lambda: running.api.get("/volumes/data").status_code == 404, "the volume is gone")
    running.down()


def test_a_deployment_and_a_rollback_turn_nobody_away_and_keep_every_call(own: System) -> None:
    before = int(ask(own)[1])
    with running_load(load_on(own)) as load:
        assert own.deploy("agents", "writer", files("2"), SPEC)["status"] == "DEPLOYED"
        assert ask(own)[0] == "2"
        first = own.api.get("/agents/writer/revisions").json()[1]["id"]
        spec = {**SPEC, "revision": {"active": first}}
        back = own.api.put("/agents/writer", json={"metadata": {"name": "writer"}, "spec": spec})
        assert back.status_code == 200, back.text
        eventually(lambda: ask(own)[0] == "1", "the first revision answers again")
    report = load.report
    assert report.sound and report.ok > 10, report
    version, calls, starts = ask(own)
    assert (version, starts) == ("1", "121")
    assert int(calls) - before >= report.ok + 3, "what one wrote the next one found"


def test_a_revision_that_cannot_start_brings_the_old_one_back(own: System) -> None:
    before = ask(own)
    failed = own.deploy("agents", "writer", {"main.py": "raise SystemExit('no database')"}, NOW)
    assert failed["status"] == "FAILED" and "no database" in failed["events"][-1]["message"]
    version, calls, starts = eventually(lambda: ask(own), "the old one is back")
    assert version == before[0] and int(calls) > int(before[1]) and starts == before[2] + version


def test_a_canary_beside_a_volume_that_is_written_to_is_refused_with_the_reason(own: System) -> None:
    active, other = own.api.get("/agents/writer/revisions").json()[0]["id"], ask(own)[0]
    kept = next(one["id"] for one in own.api.get("/agents/writer/revisions").json() if not one["active"])
    spec = {**SPEC, "revision": {"active": active, "canary": kept, "canaryPercent": 10}}
    answer = own.api.put("/agents/writer", json={"metadata": {"name": "writer"}, "spec": spec})
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"].startswith("spec.revision"), answer.text
    assert ask(own)[0] == other


@pytest.mark.parametrize("component", ["node", "server"])
def test_data_and_exclusion_outlive_a_killed_component(own: System, component: str) -> None:
    before = int(ask(own)[1])
    killed = read_state(own.data).components[component]
    os.kill(killed.pid, signal.SIGKILL)
    eventually(own.lives, f"the {component} is back")
    eventually(lambda: own.api.get("/agents/writer").status_code == 200, "the API answers")
    deployed = eventually(lambda: own.deploy("agents", "writer", files("3"), NOW), "it is deployed")
    assert deployed["status"] == "DEPLOYED"
    version, calls, _ = ask(own)
    assert version == "3" and int(calls) > before


def test_after_a_stop_and_a_start_the_data_are_there(own: System) -> None:
    before = int(ask(own)[1])
    own.down()
    own.up()
    version, calls, _ = ask(own)
    assert version == "3" and int(calls) == before + 1
