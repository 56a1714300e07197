"""A disk that fills up under a running Homeport: a small file system of its own, which needs root."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeport.core.ids import new_id
from homeport.core.space import LOW_BYTES, RESERVE_BYTES
from homeport.testing.small_disk import fill, small_disk
from homeport.testing.system import System, archive, eventually

DISK_MB = 160
AGENT = {
    "main.py": """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
}
JOB = {"main.py": "import time\n\ntime.sleep(0.2)\n"}
TASKS = 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of `DISK_MB`."""
    with small_disk(tmp_path / "disk", DISK_MB) as place:
        yield place


def test_a_full_disk_refuses_what_is_new_keeps_what_runs_and_goes_on_by_itself(disk: Path) -> None:
    system = System(disk / "data")
    system.up()
    try:
        system.deploy("agents", "keeper", AGENT)
        system.deploy("jobs", "many", JOB, {"runtime": {"memory": 128}})
        early = system.accept("agents", "early").headers["X-Blaxel-Upload-Url"]
        waiting = _execute(system, TASKS)
        eventually(lambda: _stats(system, waiting)["success"], "a task has ended")
        _fill(disk)
        limits = eventually(lambda: _readiness(system).get("limits"), "the state says that the disk is full")
        assert str(system.data.root) in limits[0] and "full" in limits[0] and "Free some space" in limits[0]
        _assert_refused(system, early)
        status = system.command("status")
        assert status.returncode == 0 and "is full" in status.stdout, status.stdout + status.stderr
        assert system.gateway.get("/agents/keeper").status_code == 200
        # What ran is written down, within the room that was held in reserve, and nothing new is claimed.
        eventually(lambda: _stats(system, waiting)["running"] == 0, "what ran has ended")
        stood = _stats(system, waiting)
        assert stood["success"] < TASKS and stood["failure"] == 0
        assert system.api.get("/jobs/many/executions").json()["meta"]["total"] == 1, "what was refused left nothing"
        system.api.delete("/agents/keeper")
        eventually(lambda: system.api.get("/agents/keeper").status_code == 404, "an agent can be deleted")
        assert _stats(system, waiting)["success"] == stood["success"]
        log = (system.data.logs / "server.log").read_text()
        assert "Traceback" not in log and len(log) < 100_000, log[-3000:]
        (disk / "filler").unlink()
        assert system.ended("many", waiting)["status"] == "succeeded"
        assert _readiness(system) == {"status": "ready", "missing": []}
        assert system.data.reserve.stat().st_size == RESERVE_BYTES
        assert not [*system.data.uploads.iterdir()]
        assert httpx.put(early, content=archive(AGENT)).status_code == 200
        assert system.settled("agents", "early")["status"] == "DEPLOYED"
    finally:
        system.down()


def test_without_any_room_at_all_reads_go_on_and_every_change_is_refused_in_words(disk: Path) -> None:
    system = System(disk / "data")
    system.up()
    try:
        _fill(disk)
        eventually(lambda: _readiness(system).get("limits"), "the state says that the disk is full")
        _fill_up(disk)  # what was held in reserve, too
        refused = eventually(lambda: _refusal(_make_policy(system)), "the store has no room left")
        assert "is full: 0 MiB are free" in refused["message"]
        made = system.api.get("/policies").json()["meta"]["total"]
        (disk / "filler").unlink()
        eventually(lambda: _readiness(system)["status"] == "ready", "it is ready again")
        assert system.api.get("/policies").json()["meta"]["total"] == made
        assert _make_policy(system).status_code == 200
    finally:
        system.down()


def _assert_refused(system: System, upload_address: str) -> None:
    """A deployment, an execution, and an archive for a deployment that was accepted before."""
    asked = (
        system.accept("agents", "late"),
        system.api.post("/jobs/many/executions", json={"tasks": [{}]}),
        httpx.put(upload_address, content=archive(AGENT)),
    )
    for answer in asked:
        refused = _refusal(answer)
        assert refused is not None and refused["error"] == "DiskFull", answer.text
        assert answer.headers["Retry-After"] == "5"


def _refusal(answer: httpx.Response) -> dict[str, Any] | None:
    """The body of a 503. Nothing else than that and success may come."""
    assert answer.status_code in (200, 503), answer.text
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 503 else None


def _make_policy(system: System) -> httpx.Response:
    spec = {"type": "location", "locations": [{"type": "country", "name": "DE"}]}
    return system.api.post("/policies", json={"metadata": {"name": new_id("p")}, "spec": spec})


def _execute(system: System, tasks: int) -> str:
    answer = system.api.post("/jobs/many/executions", json={"tasks": [{}] * tasks})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["executionId"])


def _stats(system: System, execution: str) -> dict[str, int]:
    found: dict[str, int] = system.api.get(f"/jobs/many/executions/{execution}").json()["stats"]
    return found


def _readiness(system: System) -> dict[str, Any]:
    answer = httpx.get(f"{system.url}/readyz")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _fill(disk: Path) -> None:
    """Take all but a few megabytes at once: what is held in reserve and given back then is not taken, too."""
    with (disk / "filler").open("wb") as file:
        found = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, found.f_bfree * found.f_frsize - LOW_BYTES // 2)


def _fill_up(disk: Path) -> None:
    """Until nothing more fits, whoever else writes meanwhile."""
    with contextlib.suppress(OSError):
        fill(disk)
