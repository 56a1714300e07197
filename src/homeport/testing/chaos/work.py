"""The mixed work on the control plane, each kind in a thread: agents come, change and go; executions start and are
cancelled; policies change.

Each worker writes down what was answered, so that the checks know exactly what must be in force in the end. A worker
that was asked to stop finishes the operation that it is at.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from homeport.jobs.states import ExecutionStatus
from homeport.testing.chaos import programs
from homeport.testing.chaos.control import Control, GaveUp

AGENTS = ("churn-0", "churn-1")
POLICIES = ("rule-0", "rule-1")
JOB, LATE_JOB = "work", "late"
OPEN_MOST = 8  # executions at once that have not ended
_CONTINENTS = ("AF", "AN", "AS", "EU", "NA", "OC", "SA")


@dataclass(slots=True, kw_only=True)
class Started:
    """An execution that was accepted. cancel_answer: the status that the answer to its cancellation showed."""

    id: str
    job: str
    tasks: list[dict[str, Any]]
    cancel_answer: str = ""


@dataclass(slots=True)
class Ledger:
    """What was answered 200, last. agents: the version that must serve, None for one that must be gone; policies: the
    display name. Written by one thread each, read once they have ended."""

    agents: dict[str, int | None] = field(default_factory=dict)
    policies: dict[str, str | None] = field(default_factory=dict)
    executions: list[Started] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class Worker(threading.Thread):
    """Repeats `step` until asked to stop; `failure` is what ended it before that."""

    def __init__(self, name: str, step: Callable[["Worker"], None]) -> None:
        super().__init__(name=name)
        self.failure = ""
        self._step = step
        self._ending = threading.Event()

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                self._step(self)
        except GaveUp as exc:
            self.failure = f"{self.name}: no answer to: {exc}"
        except Exception as exc:  # its thread would end silently, and the run would look well
            self.failure = f"{self.name}: {type(exc).__name__}: {exc}"

    def stop(self) -> None:
        self._ending.set()

    @property
    def stopping(self) -> bool:
        return self._ending.is_set()

    def pause(self, seconds: float) -> None:
        self._ending.wait(seconds)


def workers(control: Control, ledger: Ledger, seed: int) -> list[Worker]:
    """One of each kind, with random numbers of its own, so that the threads' order changes none of them."""
    return [
        Worker("agents", _Agents(control, ledger, Random(seed + 1))),
        Worker("executions", _Executions(control, ledger, Random(seed + 2), seed)),
        Worker("policies", _Policies(control, ledger, Random(seed + 3))),
    ]


class _Agents:
    def __init__(self, control: Control, ledger: Ledger, random: Random) -> None:
        self._control = control
        self._ledger = ledger
        self._random = random
        self._version = 0

    def __call__(self, worker: Worker) -> None:
        name = self._random.choice(AGENTS)
        if self._ledger.agents.get(name) is not None and self._random.random() < 0.25:
            self._control.remove(f"/v0/agents/{name}")
            self._ledger.agents[name] = None
            self._ledger.count("agents deleted")
        else:
            self._version += 1
            spec = {"runtime": {"memory": 128}}
            self._control.deploy("agents", name, programs.agent(self._version), spec)
            self._ledger.agents[name] = self._version
            self._ledger.count("agents deployed")
        # Now and then the next order comes before this one is in force.
        worker.pause(self._random.choice((0.0, 1.0, 4.0)))


class _Executions:
    def __init__(self, control: Control, ledger: Ledger, random: Random, seed: int) -> None:
        self._control = control
        self._ledger = ledger
        self._random = random
        self._prefix = f"chaos-{seed}"
        self._open: list[Started] = []
        self._number = 0

    def __call__(self, worker: Worker) -> None:
        self._wait_for_room(worker)
        self._number += 1
        late = self._random.random() < 0.1
        started = Started(
            id=f"{self._prefix}-{self._number}",
            job=LATE_JOB if late else JOB,
            tasks=[{"sleep": 60.0, "failures": 0}] * 2 if late else self._tasks(),
        )
        # The caller names it, so that what is repeated for want of an answer is the same execution.
        body = {"executionId": started.id, "tasks": started.tasks}
        path = f"/v0/jobs/{started.job}/executions"
        self._control.insist("execute", lambda: self._control.ask("execute", "POST", path, json=body), (200,))
        self._ledger.executions.append(started)
        self._open.append(started)
        self._ledger.count("executions")
        self._ledger.counts["tasks"] = self._ledger.counts.get("tasks", 0) + len(started.tasks)
        if self._random.random() < 0.2:
            worker.pause(self._random.uniform(0.0, 2.0))
            self._cancel(started, f"{path}/{started.id}")
        worker.pause(self._random.uniform(0.5, 2.5))

    def _wait_for_room(self, worker: Worker) -> None:
        """A caller that started more than the machine can do would only wait for the rest afterwards."""
        while len(self._open) >= OPEN_MOST and not worker.stopping:
            self._open = [one for one in self._open if not self._has_ended(one)]
            worker.pause(0.5)

    def _has_ended(self, one: Started) -> bool:
        answer = self._control.ask("execution", "GET", f"/v0/jobs/{one.job}/executions/{one.id}")
        if answer is None or answer.status_code != 200:
            return False
        return ExecutionStatus(answer.json()["status"]).terminal

    def _tasks(self) -> list[dict[str, Any]]:
        many = self._random.randint(1, 12)
        failures = (0, 0, 0, 0, 1, 2, programs.MAX_RETRIES + 1)
        return [
            {"sleep": round(self._random.uniform(0.0, 1.5), 2), "failures": self._random.choice(failures)}
            for _ in range(many)
        ]

    def _cancel(self, started: Started, path: str) -> None:
        query = {"now": "true"} if self._random.random() < 0.5 else {}
        ask = partial(self._control.ask, "cancel", "DELETE", path, params=query)
        answer = self._control.insist("cancel", ask, (200,))
        started.cancel_answer = str(answer.json()["status"])
        self._ledger.count("executions cancelled")


class _Policies:
    def __init__(self, control: Control, ledger: Ledger, random: Random) -> None:
        self._control = control
        self._ledger = ledger
        self._random = random
        self._number = 0

    def __call__(self, worker: Worker) -> None:
        name = self._random.choice(POLICIES)
        if self._ledger.policies.get(name) is not None and self._random.random() < 0.2:
            self._control.remove(f"/v0/policies/{name}")
            self._ledger.policies[name] = None
            self._ledger.count("policies deleted")
        else:
            self._number += 1
            self._apply(name, f"number {self._number}")
        worker.pause(self._random.uniform(0.2, 1.5))

    def _apply(self, name: str, title: str) -> None:
        locations = [{"type": "continent", "name": self._random.choice(_CONTINENTS)}]
        body = {"metadata": {"name": name, "displayName": title}, "spec": {"type": "location", "locations": locations}}
        control = self._control
        while True:
            answer = control.ask("policy", "PUT", f"/v0/policies/{name}", json=body)
            if answer is not None and answer.status_code == 404:
                answer = control.ask("policy", "POST", "/v0/policies", json=body)
            if answer is not None and answer.status_code == 200:
                break
            if answer is not None and answer.status_code != 409:  # 409: an unanswered one of ours has made it
                control.violation(f"policy: {answer.status_code} {answer.text[:300]}")
            control.wait(f"policy {name}")
        self._ledger.policies[name] = title
        self._ledger.count("policies applied")
