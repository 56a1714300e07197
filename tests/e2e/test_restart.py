"""A stop and a start: everything is found again, and what was interrupted goes on."""

import os
import signal
from pathlib import Path

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

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
}
# Asks for its arguments at once; runs for ever at its first start, ends at its second.
JOB = {
    "main.py": """
import os, time, urllib.request

urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]).read()
print("attempt", flush=True)
time.sleep(0 if os.environ["TASK_ATTEMPT"] != "0" else 600)
"""
}


def test_a_second_start_finds_everything_and_finishes_what_was_interrupted(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    system.up()
    try:
        system.deploy("agents", "keeper", AGENT)
        system.deploy("jobs", "long", JOB, {"runtime": {"memory": 128, "maxRetries": 0}})
        started = system.api.post("/jobs/long/executions", json={"tasks": [{}]}).json()["executionId"]
        running = f"/jobs/long/executions/{started}"
        eventually(lambda: system.api.get(running).json()["stats"]["running"] == 1, "the task runs")
        key = system.key
        system.down()
        system.up()
        assert system.key == key
        assert system.gateway.post("/agents/keeper", json={}).text == "still here"
        execution = system.ended("long", started)
        assert (execution["status"], execution["tasks"][0]["attempts"]) == ("succeeded", 2)
    finally:
        system.down()
    assert not list((system.data.node / "units").glob("*/app")), "what programs wrote is gone with them"


# Asks for its arguments again and again, and fails at the first answer that is not there.
ASKING = {
    "main.py": """
import os, time, urllib.request

print("asking", flush=True)
until = time.monotonic() + 8
while time.monotonic() < until:
    urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]).read()
"""
}


def test_a_task_that_asks_for_its_arguments_does_not_notice_the_servers_death(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    system.up()
    try:
        system.deploy("jobs", "asking", ASKING, {"runtime": {"memory": 128, "maxRetries": 0}})
        started = system.api.post("/jobs/asking/executions", json={"tasks": [{}]}).json()["executionId"]
        eventually(lambda: system.logs("jobs", "asking"), "it asks")
        server = read_state(system.data).components["server"]
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: read_state(system.data).components["server"] != server, "another server is started")
        eventually(lambda: system.api.get("/jobs/asking").status_code == 200, "it answers")
        execution = system.ended("asking", started)
        assert (execution["status"], execution["tasks"][0]["attempts"]) == ("succeeded", 1)
    finally:
        system.down()
