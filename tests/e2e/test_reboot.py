"""The machine dies and boots again: replicas start again, interrupted attempts are lost and follow the retry rule."""

import json
import subprocess
from pathlib import Path

from homeport.testing.reboot import boot, cut_the_power
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

        cut_the_power(system.data)
        with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
            try:
                boot(system.data, stranger.pid)
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
