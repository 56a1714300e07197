"""The death of the server with 100 000 tasks waiting: from SIGKILL until the program of a task runs that the next
server claimed, by the store's own record.
"""

import os
import signal
import sqlite3
import time
from contextlib import closing

from bench.figures import Figure, Outcome
from bench.installation import installation, pids
from homeport.core.clock import SystemClock
from homeport.testing.system import System, eventually

MOST_S = 3.0
WAITING = 100_000
PROGRAM = {"main.py": "import time\n\ntime.sleep(0.2)\n"}
JOB = "many"
_FIRST = "SELECT min(started_at) FROM attempts WHERE created_at > ? AND started_at IS NOT NULL"
_LEFT = "SELECT sum(pending) FROM executions"


def run(rounds: int, scale: float) -> Outcome:
    took: list[float] = []
    accepting: list[float] = []
    left: list[float] = []
    for _ in range(rounds):
        # A new one each time: a second death within 10 s waits longer, on purpose.
        with installation() as system:
            deployed = system.deploy("jobs", JOB, PROGRAM, {"runtime": {"memory": 128, "maxConcurrentTasks": 1000}})
            assert deployed["status"] == "DEPLOYED", deployed
            began = time.monotonic()
            execution = _execute(system, max(1000, int(WAITING * scale)))
            accepting.append(time.monotonic() - began)
            eventually(lambda: _running(system, execution), "tasks run")  # noqa: B023
            left.append(float(_asked(system, _LEFT)))
            took.append(_after_kill(system))
    return Outcome(
        figures=[
            Figure(name="from SIGKILL to the next task's start", unit="s", rounds=took, most=MOST_S),
            Figure(name="tasks waiting at the kill", unit="", rounds=left),
            Figure(name="accepting the execution", unit="s", rounds=accepting),
        ]
    )


def _execute(system: System, count: int) -> str:
    answer = system.api.post(f"/jobs/{JOB}/executions", json={"tasks": [{}] * count}, timeout=120)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["executionId"])


def _running(system: System, execution: str) -> int:
    return int(system.api.get(f"/jobs/{JOB}/executions/{execution}").json()["stats"]["running"])


def _after_kill(system: System) -> float:
    """Seconds from a kill of the server until a task runs that was claimed after it."""
    killed_at = SystemClock().now().timestamp()
    os.kill(pids(system)["server"], signal.SIGKILL)
    found = eventually(lambda: _asked(system, _FIRST, int(killed_at * 1e6)), "a task starts")
    eventually(lambda: system.api.get("/jobs").status_code == 200, "the API answers")
    return float(found) / 1e6 - killed_at


def _asked(system: System, query: str, *values: int) -> int:
    """One number out of the store."""
    with closing(sqlite3.connect(f"file:{system.data.database}?mode=ro", uri=True)) as connection:
        return int(connection.execute(query, values).fetchone()[0] or 0)
