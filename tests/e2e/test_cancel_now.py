"""An execution that is cancelled at once, with real processes, and what its history says afterwards."""

import json
import os
import signal
from typing import Any

import pytest

from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

# Task 0 keeps on after SIGTERM, task 1 ends by it; both say when they run.
PROGRAM = """
import os, signal, sys, time
if os.environ["TASK_INDEX"] == "0":
    signal.signal(signal.SIGTERM, lambda *_: print("I stay", flush=True))
print("here", flush=True)
while True:
    time.sleep(0.1)
"""
JOB = "obstinate"


@pytest.fixture(scope="module")
def job(system: System) -> str:
    spec = {"runtime": {"maxConcurrentTasks": 2, "maxRetries": 3, "timeout": 120, "memory": 128}}
    assert system.deploy("jobs", JOB, {"main.py": PROGRAM}, spec)["status"] == "DEPLOYED"
    return JOB


def begun(system: System, tasks: int) -> str:
    """An execution of which both places are taken by programs that say that they run."""
    execution: str = system.api.post(f"/jobs/{JOB}/executions", json={"tasks": [{}] * tasks}).json()["executionId"]

    def both() -> bool:
        return sum(line["text"] == "here" for line in system.logs("jobs", JOB, execution=execution)) == 2

    eventually(both, "two tasks run")
    return execution


def verified(system: System, execution: str) -> dict[str, Any]:
    done = system.command("executions", "verify", execution, "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_running_tasks_are_stopped_and_killed_after_the_grace_and_the_history_tells_it(
    system: System, job: str
) -> None:
    execution = begun(system, 5)
    assert verified(system, execution)["terminal"] == 0
    done = system.command("executions", "cancel", job, execution, "--now", "--grace", "1")
    assert (done.returncode, done.stdout) == (0, f"{execution} is being cancelled\n"), done.stderr
    ended = system.ended(job, execution)
    assert (ended["status"], ended["stats"]["cancelled"]) == ("cancelled", 5)
    how = [task["conditions"][0]["message"] for task in ended["tasks"][:2]]
    assert [message.split(":")[0] for message in how] == ["stopped (killed by SIGKILL)", "stopped (killed by SIGTERM)"]
    found = verified(system, execution)
    assert (found["valid"], found["terminal"], found["starts"], found["mostAtOnce"]) == (True, 5, 2, 2)
    shown = system.command("executions", "history", execution).stdout
    assert "what runs is to be stopped, and killed after 1 s" in shown
    assert "task 0 attempt 1 stopped (SIGKILL); the task is cancelled" in shown
    assert shown.splitlines()[-1].endswith("the execution is cancelled")


def test_a_server_that_is_killed_right_after_the_answer_still_does_it(system: System, job: str) -> None:
    execution = begun(system, 2)
    server = read_state(system.data).components["server"].pid
    answer = system.api.delete(f"/jobs/{job}/executions/{execution}", params={"now": "true", "grace": 0})
    os.kill(server, signal.SIGKILL)
    assert answer.json()["status"] == "cancelling"
    eventually(lambda: _started_anew(system, server), "the server is back")
    ended = system.ended(job, execution)
    assert (ended["status"], ended["stats"]["cancelled"], ended["stats"]["lost"]) == ("cancelled", 2, 0)
    assert verified(system, execution)["starts"] == 2


def _started_anew(system: System, killed: int) -> bool:
    ready = system.api.get(f"{system.url}/readyz").status_code == 200
    return ready and read_state(system.data).components["server"].pid != killed
