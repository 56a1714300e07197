"""What orders say beside their source, by real programs in real sandboxes: the older contract's fields of jobs,
revisions that do not serve yet, and the warnings of the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.system import System, eventually

PROGRAM = """
import json, os, sys, time, urllib.request

with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    task = json.load(answer)["tasks"][0]
began, used = time.monotonic(), time.process_time()
while time.monotonic() - began < task.get("spin", 0):
    pass
share = (time.process_time() - used) / max(time.monotonic() - began, 0.001)
names = ("PLAIN", "HIDDEN", "BOTH")
print(json.dumps({"argv": sys.argv, "share": share, **{name: os.environ.get(name) for name in names}}), flush=True)
time.sleep(task.get("sleep", 0))
"""
FILES = {"main.py": "raise SystemExit('the start command of the source')", "other.py": PROGRAM}
RUNTIME: dict[str, Any] = {"memory": 256, "timeout": 60, "command": ["python", "other.py"], "args": ["--fast", "a b"]}
CONFIGURATIONS: dict[str, Any] = {
    "PLAIN": {"value": "shown"},
    "HIDDEN": {"value": "a secret of the job", "secret": True},
    "BOTH": {"value": "configured"},
}
AGENT = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"VERSION")

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def job(system: System) -> str:
    runtime = {**RUNTIME, "envs": [{"name": "BOTH", "value": "mine"}]}
    made = system.deploy("jobs", "older", FILES, {"runtime": runtime, "configurations": CONFIGURATIONS})
    assert made["status"] == "DEPLOYED", made
    return "older"


def printed(system: System, job: str, execution: dict[str, Any]) -> dict[str, Any]:
    lines = system.logs("jobs", job, execution=execution["metadata"]["id"])
    found: dict[str, Any] = json.loads(next(line["text"] for line in lines if line["text"].startswith("{")))
    return found


def test_command_and_args_override_the_start_command(system: System, job: str) -> None:
    execution = system.execute(job, [{}])
    assert execution["status"] == "succeeded"
    assert printed(system, job, execution)["argv"] == ["other.py", "--fast", "a b"]


def test_configurations_are_variables_and_secret_ones_are_masked(system: System, job: str) -> None:
    seen = printed(system, job, system.execute(job, [{}]))
    assert (seen["PLAIN"], seen["HIDDEN"], seen["BOTH"]) == ("shown", "a secret of the job", "mine")
    read = system.api.get(f"/jobs/{job}")
    assert "a secret of the job" not in read.text
    kept = read.json()["spec"]["configurations"]
    assert kept["PLAIN"] == {"value": "shown"} and kept["HIDDEN"]["secret"] is True


def test_a_cpu_limit_holds_a_busy_task_to_its_share(system: System) -> None:
    if system.api.get("/homeport/status").json()["sandbox"].get("cpu_limit") == "none":
        pytest.skip("this machine gives Homeport no CPU control group")
    made = system.deploy("jobs", "slow", FILES, {"runtime": {**RUNTIME, "cpu": 0.2}})
    assert made["status"] == "DEPLOYED" and not [one for one in made["events"] if one["reason"] == "IgnoredField"]
    share = printed(system, "slow", system.execute("slow", [{"spin": 2}]))["share"]
    assert 0.02 < share < 0.35, "the limit is a fifth of a core"


def test_a_job_goes_when_its_time_is_over_and_what_runs_is_cancelled(system: System) -> None:
    assert system.deploy("jobs", "short", FILES, {"runtime": RUNTIME})["status"] == "DEPLOYED"
    started = system.api.post("/jobs/short/executions", json={"tasks": [{"sleep": 5}] * 200})
    address = f"/jobs/short/executions/{started.json()['executionId']}"
    eventually(lambda: system.api.get(address).json()["stats"]["running"] > 0, "a task runs")
    body = {"metadata": {"name": "short"}, "spec": {"runtime": {**RUNTIME, "ttl": "1s"}}}
    assert system.api.put("/jobs/short", json=body).status_code == 200
    going = eventually(lambda: _while_it_goes(system, "short"), "the job goes away")
    assert going["events"][-1]["reason"] == "Expired" and "was over at" in going["events"][-1]["message"]
    assert system.api.get(address).json()["status"] == "cancelling"
    system.api.delete(address)


def _while_it_goes(system: System, job: str) -> dict[str, Any] | None:
    read: dict[str, Any] = system.api.get(f"/jobs/{job}").json()
    return read if read.get("status") == "DELETING" else None


def test_a_job_without_executions_is_gone_at_its_moment(system: System) -> None:
    assert system.deploy("jobs", "brief", FILES, {"runtime": RUNTIME})["status"] == "DEPLOYED"
    body = {"metadata": {"name": "brief"}, "spec": {"runtime": {**RUNTIME, "ttl": "1s"}}}
    assert system.api.put("/jobs/brief", json=body).status_code == 200
    eventually(lambda: system.api.get("/jobs/brief").status_code == 404, "the job is gone", 30)


def test_a_revision_with_traffic_0_is_built_and_does_not_answer_until_it_is_the_active_one(system: System) -> None:
    def answer() -> str:
        return system.gateway.get("/agents/staged/").text

    assert system.deploy("agents", "staged", {"main.py": AGENT.replace("VERSION", "one")})["status"] == "DEPLOYED"
    files = {"main.py": AGENT.replace("VERSION", "two")}
    assert system.deploy("agents", "staged", files, {"revision": {"traffic": 0}})["status"] == "DEPLOYED"
    kept, serving = system.api.get("/agents/staged/revisions").json()
    assert (kept["status"], kept["active"], kept["trafficPercent"]) == ("built", False, 0)
    assert (serving["active"], serving["trafficPercent"]) == (True, 100)
    assert {answer() for _ in range(5)} == {"one"}
    body = {"metadata": {"name": "staged"}, "spec": {"revision": {"active": kept["id"]}}}
    assert system.api.put("/agents/staged", json=body).status_code == 200
    eventually(lambda: answer() == "two", "the kept revision answers")
    now, before = system.api.get("/agents/staged/revisions").json()
    assert (now["id"], now["active"], before["previousActive"]) == (kept["id"], True, True)


def test_the_command_line_warns_of_what_has_no_effect(system: System, tmp_path: Path) -> None:
    policy = {"type": "location", "locations": [{"type": "location", "name": "local"}], "flavors": [{"name": "x86"}]}
    manifest = tmp_path / "policy.json"
    manifest.write_text(json.dumps({"kind": "Policy", "metadata": {"name": "warned"}, "spec": policy}))
    done = system.command("apply", "-f", str(manifest))
    assert (done.returncode, done.stdout) == (0, "policy warned created\n")
    warning = "spec.flavors is kept and has no effect: only a policy of type flavor uses it."
    assert [line for line in done.stderr.splitlines() if warning in line] == [f"Warning: policy warned: {warning}"]
    folder = tmp_path / "nightly"
    folder.mkdir()
    (folder / "main.py").write_text("print('done')")
    trigger = '[[triggers]]\nid = "nightly"\ntype = "cron"\n[triggers.configuration]\nschedule = "0 3 * * *"\n'
    (folder / "blaxel.toml").write_text('type = "job"\n' + trigger)
    done = system.command("deploy", "-d", str(folder))
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert len(warned) == 1 and warned[0].startswith("Warning: spec.triggers is kept and has no effect: ")


def test_the_command_line_warns_of_a_revision_that_will_not_serve(system: System, tmp_path: Path) -> None:
    files = {"main.py": "print('done')"}
    assert system.deploy("jobs", "kept", files)["status"] == "DEPLOYED"
    assert system.deploy("jobs", "kept", files, {"revision": {"traffic": 0}})["status"] == "DEPLOYED"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = system.command("deploy", "-d", str(tmp_path), "--type", "job", "--name", "kept")
    assert done.returncode == 0, done.stderr
    (warned,) = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert "does not serve" in warned and "send spec.revision.traffic 100" in warned
