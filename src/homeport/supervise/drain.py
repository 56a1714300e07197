"""The time between the wish to stop and the end: nothing new starts, what is under way may end.

First running tasks are awaited, with the gateway open, because they may call agents; then the gateway takes no more
connections, and requests and streams are awaited. All of it within one time, and not at all where nothing is under way.
Called by `up` when asked to stop, and by `down` where `up` is dead.
"""

import http.client
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from homeport.core.clock import Clock
from homeport.settings import DataDir
from homeport.supervise import probe
from homeport.supervise.progress import Progress

log = logging.getLogger(__name__)

DRAIN_S = 30.0  # by default
_TURN_S = 0.1
_ANSWER_S = 5.0  # what a server under load may take to say what is under way
_FOR_REQUESTS = 0.2  # of the time is left for requests where tasks would take all of it
_SERVER = "cluster.server.upstream_rq_active"  # requests to the API, which the server itself lets end
_GATEWAY = "http.gateway.downstream_rq_active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is under way. agents and functions with their replicas run; tasks of executions run; waiting_tasks are to
    run; builds are under way; asynchronous calls have not ended. `known` is False when the server could not be asked.
    requests: None when Envoy could not."""

    known: bool = False
    agents: int = 0
    functions: int = 0
    replicas: int = 0
    tasks: int = 0
    executions: int = 0
    waiting_tasks: int = 0
    builds: int = 0
    calls: int = 0
    requests: int | None = None

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {"waitingTasks": fields.pop("waiting_tasks"), **fields}


class Plant(Protocol):
    """What can be drained."""

    def pause(self) -> None:
        """Have the server start nothing new."""
        ...

    def work(self) -> Work: ...

    def close_gateway(self) -> None:
        """Have Envoy take no more connections, and no more requests on those that it has."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait. wait: sleeps, at most for the seconds given, less when something happens. hurried: whether
    waiting is over. unknown_s: for how long a server that does not answer is waited for; somebody starts it again."""

    seconds: float
    unknown_s: float
    wait: Callable[[float], None]
    hurried: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What a stop ends. waited_s: how long what was under way was awaited. work: what is under way still, and is
    cut."""

    waited_s: float
    work: Work

    def to_json(self) -> dict[str, Any]:
        return {"waitedSeconds": round(self.waited_s, 1), **self.work.to_json(), "resumes": resumes(self.work)}

    def sentences(self) -> list[str]:
        """What people should know."""
        return sentences(self.to_json())


def drain(plant: Plant, patience: Patience, clock: Clock, tell: Callable[[Work, float], None]) -> Stopped:
    """Let what is under way end, and say what has not. `tell` is told what is awaited still and for how many seconds
    at most. Raises nothing that `plant` does not."""
    began = known_at = clock.monotonic()
    plant.pause()
    closed = False
    while True:
        work, now = plant.work(), clock.monotonic()
        left_s = patience.seconds - (now - began)
        known_at = now if work.known else known_at
        tasks = work.tasks or (not work.known and now - known_at < patience.unknown_s)
        if not closed and (not tasks or left_s <= patience.seconds * _FOR_REQUESTS):
            plant.close_gateway()
            closed, work = True, replace(work, requests=plant.work().requests)
        if left_s <= 0 or patience.hurried() or (closed and not tasks and not work.requests):
            return Stopped(waited_s=clock.monotonic() - began, work=work)
        tell(work, left_s)
        patience.wait(min(_TURN_S, left_s))


def show_waiting(progress: Progress, work: dict[str, Any], left_s: float, hurry: str) -> None:
    """Tell that a drain waits. `hurry` says how to end it."""
    awaited = [_count(work["requests"] or 0, "request"), _count(work["tasks"], "running task")]
    named = " and ".join(one for one in awaited if one)
    text = f"letting {named} end" if named else "waiting for the server to say what runs"
    progress.waiting(text, f", at most {max(0, round(left_s))} s more ({hurry})")


def sentences(stopped: dict[str, Any]) -> list[str]:
    """`Stopped.to_json` for people."""
    if not stopped["known"]:
        return [
            "stopped without knowing what was under way, since the server did not answer; "
            "nothing that was accepted is lost, and the next `homeport up` goes on with it"
        ]
    tasks = _count(stopped["tasks"], "running task")
    serving = " and ".join(_serving(stopped["agents"], stopped["functions"]))
    parts = [
        serving and f"{serving} ({_count(stopped['replicas'], 'replica')})",
        tasks and f"{tasks} of {_count(stopped['executions'], 'execution')}",
        _count(stopped["builds"], "build"),
        stopped["requests"] and f"{_count(stopped['requests'], 'request')} cut",
    ]
    said = ", ".join(part for part in parts if part) or "nothing was running"
    lines = [f"stopped: {said}"]
    if stopped["resumes"]:
        lines.append(f"at the next `homeport up`: {'; '.join(stopped['resumes'])}")
    lines.append("nothing that was accepted is lost")
    return lines


def resumes(work: Work) -> list[str]:
    """What the next start does with what a stop ended."""
    lines = []
    if serving := _serving(work.agents, work.functions):
        lines.append(f"{' and '.join(serving)} {_verb(work.agents + work.functions, 'start')} again")
    if work.tasks:
        again = f"{_count(work.tasks, 'stopped task')} {_verb(work.tasks, 'start')} again"
        lines.append(f"{again}, which costs no retry")
    if work.waiting_tasks:
        lines.append(f"{_count(work.waiting_tasks, 'waiting task')} {_verb(work.waiting_tasks, 'go')} on")
    if work.calls:
        lines.append(f"{_count(work.calls, 'asynchronous call')} {_verb(work.calls, 'go')} on")
    if work.builds:
        lines.append(f"{_count(work.builds, 'build')} {_verb(work.builds, 'begin')} anew")
    return lines


def _serving(agents: int, functions: int) -> list[str]:
    return [one for one in (_count(agents, "agent"), _count(functions, "function")) if one]


def _count(number: int, what: str) -> str:
    return "" if not number else f"{number} {what}{'' if number == 1 else 's'}"


def _verb(number: int, verb: str) -> str:
    return verb if number != 1 else "goes" if verb == "go" else f"{verb}s"


class RealPlant:
    """The server and Envoy behind their sockets. Nothing raises: what is dead is not waited for, and while the server
    is slow what it said last holds."""

    def __init__(self, data: DataDir) -> None:
        self._internal = data.socket("internal")
        self._admin = data.socket("envoy-admin")
        self._mark = data.pause_mark
        self._last = Work()

    def pause(self) -> None:
        self._try(self._mark.touch)  # for a server that starts again meanwhile
        self._try(lambda: probe.ask(self._internal, "POST", "/internal/pause", _ANSWER_S))

    def work(self) -> Work:
        self._last = self._try(self._ask_server) or Work()
        return replace(self._last, requests=self._try(self._requests))

    def close_gateway(self) -> None:
        # The first tells the connections that there are to close, the second takes no more of them.
        self._try(lambda: probe.ask(self._admin, "POST", "/drain_listeners?graceful&skip_exit"))
        self._try(lambda: probe.ask(self._admin, "POST", "/drain_listeners"))

    def _ask_server(self) -> Work:
        try:
            answer = probe.ask(self._internal, "GET", "/internal/work", _ANSWER_S)
        except TimeoutError:
            return self._last
        return Work(known=True, **json.loads(answer))

    def _requests(self) -> int:
        names = "|".join((_GATEWAY, _SERVER)).replace(".", r"\.")
        answer = probe.ask(self._admin, "GET", f"/stats?format=json&filter=^({names})$")
        counts = {stat.get("name"): int(stat.get("value", 0)) for stat in json.loads(answer)["stats"]}
        return max(0, counts.get(_GATEWAY, 0) - counts.get(_SERVER, 0))

    def _try(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as exc:
            log.info("not answered while draining: %s", exc)
            return None
