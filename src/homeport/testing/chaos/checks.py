"""What must hold once the faults are over: all at rest, all that was accepted in force, nothing lost, twice or left.

Each check returns sentences about what does not hold; none of them raises.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from homeport.jobs.states import ExecutionStatus
from homeport.leaks.finding import Finding
from homeport.leaks.look import leaks
from homeport.supervise.state import read_state
from homeport.testing.chaos import programs
from homeport.testing.chaos.control import Control
from homeport.testing.chaos.work import LATE_JOB, Ledger, Started
from homeport.testing.system import LEAK_WAIT_S, System

READY_S = 60.0  # from the last fault until every component answers
REST_S = 180.0  # until everything accepted has ended: the longest task and its retries, beside whatever else waits
GARBAGE_S = 120.0  # the server looks each minute
_TURN_S = 0.2


def wait_for(look: Callable[[], object], bound_s: float) -> bool:
    """Whether it came about within the bound."""
    deadline = time.monotonic() + bound_s
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(_TURN_S)
    return True


def not_ready(system: System, control: Control) -> Iterator[str]:
    if not wait_for(system.lives, READY_S):
        yield f"not every component lives {READY_S:.0f} s after the last fault: {read_state(system.data).to_json()}"
    answer = None

    def ready() -> bool:
        nonlocal answer
        answer = control.ask("readyz", "GET", "/readyz")
        return answer is not None and answer.status_code == 200

    if not wait_for(ready, READY_S):
        yield f"/readyz is not 200 {READY_S:.0f} s after the last fault: {answer.text if answer else 'no answer'}"


def not_ended(control: Control, executions: Iterable[Started]) -> Iterator[str]:
    """Waits for every execution that was accepted."""
    open_ = {one.id: f"/v0/jobs/{one.job}/executions/{one.id}" for one in executions}

    def all_ended() -> bool:
        for name, path in [*open_.items()]:
            if ExecutionStatus(control.get("execution", path).json()["status"]).terminal:
                del open_[name]
        return not open_

    if not wait_for(all_ended, REST_S):
        for name, path in open_.items():
            shown = control.get("execution", path).json()
            yield f"{name} is {shown['status']} {REST_S:.0f} s after the last fault: {shown['stats']}"


def wrong_executions(control: Control, executions: Iterable[Started], found: Counter[str]) -> Iterator[str]:
    """Each execution beside its history, what its tasks were made to do, and what its programs themselves printed. The
    counts of the histories are added to `found`."""
    for one in executions:
        shown = control.get("execution", f"/v0/jobs/{one.job}/executions/{one.id}").json()
        said = control.get("verify", f"/v0/homeport/executions/{one.id}/verification").json()
        found.update({key: said[key] for key in ("starts", "retries", "lost", "interrupted", "runTwice", "entries")})
        if not (said["valid"] and said["complete"]):
            yield f"{one.id} does not verify: {json.dumps(said)[:2000]}"
        if one.cancel_answer in ("cancelling", "cancelled"):
            if shown["status"] != "cancelled":
                yield f"{one.id} was cancelled and is {shown['status']}"
        elif not said["lost"]:  # a lost attempt counts like a failure, and then the history alone knows what is right
            yield from _wrong_results(one, shown)
        yield from _ran_twice(control, one)


def _wrong_results(one: Started, shown: dict[str, Any]) -> Iterator[str]:
    expected = "timeout" if one.job == LATE_JOB else "failed" if any(map(_must_fail, one.tasks)) else "succeeded"
    if shown["status"] != expected:
        yield f"{one.id} is {shown['status']} in place of {expected}: {json.dumps(shown['tasks'])[:2000]}"
        return
    for index, (asked, task) in enumerate(zip(one.tasks, shown["tasks"], strict=True)):
        must = "failed" if one.job == LATE_JOB or _must_fail(asked) else "succeeded"
        attempts = 1 if one.job == LATE_JOB else min(asked["failures"], programs.MAX_RETRIES) + 1
        if (task["status"], task["attempts"]) != (must, attempts):
            found = f"{task['status']} after {task['attempts']} attempts"
            yield f"{one.id} task {index} is {found} in place of {must} after {attempts}: {task.get('conditions')}"


def _must_fail(task: dict[str, Any]) -> bool:
    return bool(task["failures"] > programs.MAX_RETRIES)


def _ran_twice(control: Control, one: Started) -> Iterator[str]:
    """By what tasks printed, whatever the store says: no attempt began twice, none began after its task was done."""
    answer = control.get("logs", f"/v0/homeport/logs/jobs/{one.job}", params={"execution": one.id})
    said = [programs.printed(json.loads(line)["text"]) for line in answer.text.splitlines()]
    began = Counter(tuple(line["began"]) for line in said if "began" in line)
    for (index, attempt), times in began.items():
        if times > 1:
            yield f"{one.id} task {index} attempt {attempt} began {times} times"
    for index, attempt in (line["done"] for line in said if "done" in line):
        later = [known for known in began if known[0] == index and known[1] > attempt]
        if later:
            yield f"{one.id} task {index} was done by attempt {attempt} and began again: {later}"
    for line in said:
        if "refused" in line:
            yield f"{one.id}: a task's arguments were refused to it: {line['refused']}"


def not_in_force(control: Control, ledger: Ledger) -> Iterator[str]:
    """Agents and policies beside what was answered last."""
    for name, version in ledger.agents.items():
        path = f"/v0/agents/{name}"
        if version is None:
            gone = wait_for(lambda path=path: _status(control, path) == 404, READY_S)  # type: ignore[misc]
            if not gone:
                yield f"agent {name} was deleted and is there: {control.get('agent', path).text[:500]}"
            continue
        settled = wait_for(lambda path=path: _state(control, path) in ("DEPLOYED", "FAILED"), REST_S)  # type: ignore[misc]
        shown = control.get("agent", path).json()
        if not settled or shown["status"] != "DEPLOYED":
            events = [event.get("message") for event in shown.get("events", ())][-6:]
            yield f"agent {name} version {version} was accepted and is {shown['status']}: {events}"
            continue
        served = control.get("call", f"/default/agents/{name}/").json()["version"]
        if served != version:
            yield f"agent {name} serves version {served} and version {version} was accepted last"
    for name, title in ledger.policies.items():
        answer = control.get("policy", f"/v0/policies/{name}", (200, 404))
        found = answer.json()["metadata"]["displayName"] if answer.status_code == 200 else None
        if found != title:
            yield f"policy {name} is {found!r} and {title!r} was accepted last"


def leaked(system: System, stepped: bool) -> Iterator[str]:
    """What nobody owns once the server has looked. stepped: the clock was; then files look old that are young, and the
    server itself removes none for ten minutes."""
    found: list[Finding] = []

    def none_left() -> bool:
        files = ("source", "bundle", "upload") if stepped else ()
        found[:] = [one for one in leaks(system.data, LEAK_WAIT_S) if one.kind not in files]
        return not found

    if not wait_for(none_left, GARBAGE_S):
        yield from (f"left behind, though nobody owns it: {one}" for one in found)


def not_stopped(system: System) -> Iterator[str]:
    """Stops it, without waiting for what is under way."""
    done = system.command("down", "--drain", "0")
    if done.returncode != 0:
        yield f"`homeport down` ended with {done.returncode}: {done.stderr.strip()}"


def left_running(system: System) -> Iterator[str]:
    """Processes of the installation after it has stopped."""
    word = os.fsencode(system.data.root)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if word in (entry / "cmdline").read_bytes():
                    yield f"process {entry.name} is left: {(entry / 'cmdline').read_bytes().decode()!r}"
            except OSError:
                continue  # it has just ended


def restarted(control: Control, before: dict[str, Any]) -> Iterator[str]:
    """Agents that ran all the while are the same processes as before."""
    for name, known in before.items():
        found = control.get("call", f"/default/agents/{name}/").json()
        if found != known:
            yield f"agent {name} was started again: {known} became {found}"


def _state(control: Control, path: str) -> str:
    answer = control.ask("agent", "GET", path)
    return str(answer.json()["status"]) if answer is not None and answer.status_code == 200 else ""


def _status(control: Control, path: str) -> int:
    answer = control.ask("agent", "GET", path)
    return answer.status_code if answer is not None else 0
