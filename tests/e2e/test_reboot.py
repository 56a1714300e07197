"""The machine dies and boots again: replicas start again, interrupted attempts are lost and follow the retry rule."""

import json
import os
import signal
import subprocess
from pathlib import Path

from homeport.node.processes import descendants
from homeport.settings import DataDir
from homeport.supervise.processes import Handle, identify
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

AGENT = {
    "main.py": """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"still here")

    def log_message(self, *args):
        pass

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
}
# Runs for ever at its first start, ends at its second.
JOB = {
    "main.py": """
import os, time

print("attempt", flush=True)
time.sleep(0 if os.environ["TASK_ATTEMPT"] != "0" else 600)
"""
}
EARLIER_BOOT = "00000000-0000-0000-0000-000000000000"


def test_after_a_reboot_replicas_start_again_and_interrupted_attempts_follow_the_retry_rule(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    system.up()
    try:
        system.deploy("agents", "keeper", AGENT, {"runtime": {"minScale": 2}})
        executions = {}
        for name, retries in (("once", 0), ("twice", 1)):
            system.deploy("jobs", name, JOB, {"runtime": {"memory": 128, "maxRetries": retries}})
            executions[name] = system.api.post(f"/jobs/{name}/executions", json={"tasks": [{}]}).json()["executionId"]
        for name, execution in executions.items():
            eventually(lambda n=name, e=execution: _running(system, n, e) == 1, "the task runs")  # type: ignore[misc]

        _cut_the_power(system.data)
        with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
            try:
                _boot(system.data, stranger.pid)
                system.up()
                assert stranger.poll() is None, "a pid of an earlier boot is nobody's"
            finally:
                stranger.kill()

        assert system.gateway.post("/agents/keeper", json={}).text == "still here"
        replicas = json.loads(system.command("status", "-o", "json").stdout)["replicas"]
        assert [one["state"] for one in replicas] == ["ready", "ready"]
        once, twice = (system.ended(name, execution) for name, execution in executions.items())
        assert (once["status"], once["tasks"][0]["attempts"]) == ("failed", 1)
        assert (twice["status"], twice["tasks"][0]["attempts"]) == ("succeeded", 2)
        for execution in executions.values():
            verified = system.command("executions", "verify", execution)
            assert verified.returncode == 0, verified.stdout + verified.stderr
        left = system.command("gc", "--dry-run")
        assert left.returncode == 0, left.stdout + left.stderr
    finally:
        system.down()


def _running(system: System, job: str, execution: str) -> int:
    running: int = system.api.get(f"/jobs/{job}/executions/{execution}").json()["stats"]["running"]
    return running


def _cut_the_power(data: DataDir) -> None:
    """End every process at the same moment: all are halted first, so that none sees another one's end."""
    state = read_state(data)
    assert state.supervisor is not None
    roots = [state.supervisor.pid, *(held.pid for held in state.components.values())]
    roots += [int(path.read_text().split()[0]) for path in (data.node / "units").glob("*/identity")]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        found = {pid for root in roots for pid in (root, *descendants(root))}
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
    for held in (state.supervisor, *state.components.values()):
        if (handle := Handle.open(held)) is not None:
            with handle:
                assert handle.ended(30.0)


def _boot(data: DataDir, stranger: int) -> None:
    """Have everything that was written down about processes be of an earlier boot, and their pids be a stranger's."""
    state = json.loads(data.state.read_text())
    known = identify(stranger)
    assert known is not None
    for held in (state["supervisor"], *state["components"].values()):
        held |= {**known.to_json(), "boot": EARLIER_BOOT}
    data.state.write_text(json.dumps(state))
    for path in (data.node / "units").glob("*/identity"):
        path.write_text(f"{stranger} {known.started} {EARLIER_BOOT}")
