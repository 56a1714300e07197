"""Deploy, update, delete, turn to another revision, execute, cancel: one process is killed at one step, again and
again, for every step.

Ordinarily a seeded sample; `make kill` does all of them, `make kill ONLY=update:server:12:node` repeats one. A shot is
`operation:place:number:victim`: the victim dies at that step of those that the place announces while the operation goes
on. Whoever asks, asks again until there is an answer, as a client does. Afterwards the operation has come to its end,
an agent that nobody touches has answered all the while, and nothing is left that nobody owns.
"""

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from homeport.core.ids import ExecutionId
from homeport.jobs.history import Report
from homeport.load.plan import Plan
from homeport.load.thread import running_load
from homeport.runner.verification import examine_execution
from homeport.store.contract import Transaction
from homeport.store.sqlite import read_beside
from homeport.testing.killing import Killable, Shot
from homeport.testing.system import archive, eventually

SEED = int(os.environ.get("HOMEPORT_KILL_SEED") or random.randrange(1_000_000))
ALL = os.environ.get("HOMEPORT_KILL") == "all"
ONLY = os.environ.get("HOMEPORT_KILL_ONLY", "")
SAMPLE = 3  # shots of each operation in the ordinary run
SPREAD = 4  # steps at which edge, Envoy and `up` die, in the whole run
MOST_STEPS = 200  # an operation has some dozens; a loop that never ends has more
BOUND_S = 90.0

AGENT = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"VERSION"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
TASK = """
import os, time

print("began", flush=True)
time.sleep(0.3)
print("done", flush=True)
"""


@dataclass
class Operation:
    """prepare: what must be there. ask: the operation, as a client does it. check: what must be true in the end, which
    also cleans up. Each is given the number of the run. sample: shots in the ordinary run."""

    name: str
    prepare: Callable[["Bench", int], None]
    ask: Callable[["Bench", int], None]
    check: Callable[["Bench", int], None]
    sample: int = SAMPLE


@dataclass
class Bench:
    """One system for all runs."""

    system: Killable
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, path: str, expected: tuple[int, ...] = (200,), **more: Any) -> httpx.Response:
        """Ask until somebody answers; 503 and a broken connection are no answers."""

        def attempt() -> httpx.Response | None:
            try:
                answer = self.system.api.request(method, path, **more)
            except httpx.TransportError:
                return None
            return None if answer.status_code == 503 else answer

        answer = eventually(attempt, f"{method} {path} is answered", BOUND_S)
        assert answer.status_code in expected, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def deploy(self, kind: str, name: str, program: str, spec: dict[str, Any] | None = None) -> None:
        """As the clients do: until an archive was taken."""
        body = {"metadata": {"name": name}, "spec": spec or {}}
        upload = {"upload": "true"}

        def attempt() -> bool:
            answer = self.call("PUT", f"/{kind}/{name}", (200, 404), params=upload, json=body)
            if answer.status_code == 404:
                answer = self.call("POST", f"/{kind}", (200, 409), params=upload, json=body)
            if answer.status_code == 409:
                return False  # the first try was heard after all
            url = answer.headers["X-Blaxel-Upload-Url"]
            sent = self.call("PUT", url, (200, 404, 409), content=archive({"main.py": program}))
            return sent.status_code == 200

        eventually(attempt, f"{kind}/{name} is accepted", BOUND_S)

    def deployed(self, kind: str, name: str) -> None:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"/{kind}/{name}").json()
            return found if found["status"] in ("DEPLOYED", "FAILED") else None

        found = eventually(look, f"{kind}/{name} is deployed", BOUND_S)
        assert found["status"] == "DEPLOYED", found.get("events")

    def remove(self, kind: str, name: str) -> None:
        self.call("DELETE", f"/{kind}/{name}", (200, 404))
        eventually(
            lambda: self.call("GET", f"/{kind}/{name}", (200, 404)).status_code == 404, f"{kind}/{name} goes", BOUND_S
        )

    def answers(self, name: str, version: str) -> None:
        """The agent answers with this version, and with nothing else from now on."""

        def look() -> bool:
            try:
                answer = self.system.gateway.get(f"/agents/{name}")
            except httpx.TransportError:
                return False
            return answer.status_code == 200 and answer.text == version

        eventually(look, f"{name} answers {version}", BOUND_S)

    def ended(self, job: str, execution: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"/jobs/{job}/executions/{execution}").json()
            return found if found["status"] in ("succeeded", "failed", "cancelled", "timeout") else None

        return eventually(look, f"{execution} ends", BOUND_S)

    def history_is_right(self, execution: str) -> None:
        def read(tx: Transaction) -> Report:
            found = tx.executions.get(ExecutionId(execution))
            assert found is not None
            return examine_execution(tx, found)

        report = read_beside(self.system.data.database, read)
        assert not report.violations, report.violations
        assert report.terminal == report.total and not report.run_twice, report

    def began(self, job: str, execution: str) -> int:
        """How often a program of the execution really began, as its output says."""
        lines = self.call("GET", f"/homeport/logs/job/{job}", params={"execution": execution}).text
        return lines.count('"began"')


def _nothing(bench: Bench, number: int) -> None: ...


def _deploy(bench: Bench, number: int) -> None:
    bench.deploy("agents", f"new-{number}", AGENT.replace("VERSION", f"v{number}"))
    bench.deployed("agents", f"new-{number}")


def _is_deployed(bench: Bench, number: int) -> None:
    bench.answers(f"new-{number}", f"v{number}")
    bench.remove("agents", f"new-{number}")


def _update(bench: Bench, number: int) -> None:
    bench.deploy("agents", "changing", AGENT.replace("VERSION", f"v{number}"))
    bench.deployed("agents", "changing")


def _is_updated(bench: Bench, number: int) -> None:
    bench.answers("changing", f"v{number}")
    serving = [
        known for known in bench.call("GET", "/agents/changing/revisions").json() if known.get("status") == "serving"
    ]
    assert len(serving) <= 1, serving


def _deploy_doomed(bench: Bench, number: int) -> None:
    bench.deploy("agents", f"doomed-{number}", AGENT)
    bench.deployed("agents", f"doomed-{number}")


def _delete(bench: Bench, number: int) -> None:
    bench.remove("agents", f"doomed-{number}")


def _is_deleted(bench: Bench, number: int) -> None:
    def look() -> bool:
        try:
            return bench.system.gateway.get(f"/agents/doomed-{number}").status_code == 404
        except httpx.TransportError:
            return False

    eventually(look, "its address is gone", BOUND_S)


def _turn_back(bench: Bench, number: int) -> None:
    _turn(bench, number + 1)


def _turn(bench: Bench, number: int) -> None:
    """To the first or the second of two kept revisions."""
    kept = [one["id"] for one in bench.call("GET", "/agents/turning/revisions").json()]
    body = {"revision": sorted(kept)[number % 2]}
    bench.call("POST", "/homeport/rollouts/agents/turning/promote", json=body)
    bench.deployed("agents", "turning")


def _is_turned(bench: Bench, number: int) -> None:
    revisions = bench.call("GET", "/agents/turning/revisions").json()
    ids = sorted(one["id"] for one in revisions)
    serving = [one["id"] for one in revisions if one["status"] == "serving"]
    assert len(ids) == 2 and serving == [ids[number % 2]], revisions
    assert [one["trafficPercent"] for one in revisions if one["active"]] == [100], revisions
    oldest = revisions[-1]["id"]
    bench.answers("turning", "v0" if serving == [oldest] else "v1")


def _execute(bench: Bench, number: int) -> None:
    body = {"executionId": f"run-{number}", "tasks": [{"n": 1}, {"n": 2}, {"n": 3}]}
    bench.call("POST", "/jobs/short/executions", json=body)
    bench.ended("short", f"run-{number}")


def _is_executed(bench: Bench, number: int) -> None:
    found = bench.ended("short", f"run-{number}")
    assert found["status"] == "succeeded", found
    bench.history_is_right(f"run-{number}")
    assert bench.began("short", f"run-{number}") == 3, "no task ran twice, and no output is lost"


def _cancel(bench: Bench, number: int) -> None:
    execution = f"stop-{number}"
    body = {"executionId": execution, "tasks": [{"n": count} for count in range(20)]}
    bench.call("POST", "/jobs/single/executions", json=body)
    eventually(lambda: bench.began("single", execution), "the first task begins", BOUND_S)
    bench.call("DELETE", f"/jobs/single/executions/{execution}")
    bench.ended("single", execution)


def _is_cancelled(bench: Bench, number: int) -> None:
    found = bench.ended("single", f"stop-{number}")
    assert found["status"] == "cancelled", found
    bench.history_is_right(f"stop-{number}")


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("deploy", _nothing, _deploy, _is_deployed),
        Operation("update", _nothing, _update, _is_updated),
        Operation("delete", _deploy_doomed, _delete, _is_deleted),
        Operation("turn", _turn_back, _turn, _is_turned, sample=2),
        Operation("execute", _nothing, _execute, _is_executed),
        Operation("cancel", _nothing, _cancel, _is_cancelled),
    )
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(Killable(tmp_path_factory.mktemp("killed") / "data"))
    made.system.up()
    try:
        for name in ("steady", "changing"):
            made.deploy("agents", name, AGENT.replace("VERSION", "v0"))
            made.deployed("agents", name)
        for version in ("v0", "v1"):
            made.deploy("agents", "turning", AGENT.replace("VERSION", version))
            made.deployed("agents", "turning")
        # One retry: an attempt that a killed node wrote down and did not start is lost, and counts.
        for name, most in (("short", 2), ("single", 1)):
            made.deploy("jobs", name, TASK, {"runtime": {"maxConcurrentTasks": most, "maxRetries": 1, "memory": 128}})
            made.deployed("jobs", name)
        yield made
    finally:
        made.system.down()


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_a_step_it_comes_to_its_end_and_leaves_nothing(bench: Bench, name: str) -> None:
    operation = OPERATIONS[name]
    if ONLY:
        chosen = [Shot(*words) for words in (word.split(":") for word in ONLY.split(",")) if words[0] == name]
        shots = [Shot(shot.operation, shot.place, int(shot.number), shot.victim) for shot in chosen]
    else:
        shots = _shots(operation, bench)
    print(f"\n{name}: {len(shots)} shots, seed {SEED}, steps {dict(bench.system.gallows.counts)}", flush=True)
    failed = []
    for shot in shots:
        began = time.monotonic()
        try:
            hit = _run(operation, bench, shot)
        except (AssertionError, httpx.HTTPError) as error:
            failed.append(f"{shot} at {bench.system.gallows.hit!r}: {error}")
            print(f"  {failed[-1]}", flush=True)
            if not ALL:
                break
            continue
        print(f"  {shot}: {hit or 'not reached'}, {time.monotonic() - began:.1f} s", flush=True)
    assert not failed, f"seed {SEED}; `make kill ONLY=…` repeats one\n" + "\n".join(failed)


def _shots(operation: Operation, bench: Bench) -> list[Shot]:
    """All, or a sample. The steps are counted by a run in which nobody dies."""
    _run(operation, bench, None)
    counts = dict(bench.system.gallows.counts)
    assert counts.get("server", 0) > 2 and counts.get("node", 0) > 2, f"no steps were announced: {counts}"
    assert max(counts.values()) <= MOST_STEPS, counts
    name = operation.name
    chance = random.Random(f"{SEED} {name}")
    whole = [
        Shot(name, place, number, victim)
        for place, most in counts.items()
        for number in range(1, most + 1)
        for victim in ("server", "node")
    ]
    others = [
        Shot(name, place, number, victim)
        for victim in ("edge", "envoy", "up")
        for place in counts
        for number in sorted(chance.sample(range(1, counts[place] + 1), min(SPREAD // 2, counts[place])))
    ]
    if ALL:  # in an order of chance, so that a run that is broken off has seen a little of everything
        return chance.sample([*whole, *others], len(whole) + len(others))
    return [*chance.sample(whole, operation.sample - 1), chance.choice(others)]


def _run(operation: Operation, bench: Bench, shot: Shot | None) -> str:
    """Returns the step at which the victim died; empty when the operation had fewer."""
    system, number = bench.system, next(bench.numbers)
    operation.prepare(bench, number)
    headers = {"Authorization": f"Bearer {system.key}"}
    plan = Plan(url=f"{system.url}/default/agents/steady", headers=headers, concurrency=2, rate=50.0)
    with running_load(plan) as load:
        system.gallows.watch(shot)
        operation.ask(bench, number)
        hit = system.gallows.hit
        system.gallows.rest()
        if hit and shot:
            system.whole_again(shot.victim)
    operation.check(bench, number)
    if shot is None or shot.victim != "envoy":
        report = load.report
        assert not (report.failed or report.abandoned) and report.ok > 0, f"the agent beside it: {report}"
    system.owns_everything()
    return hit
