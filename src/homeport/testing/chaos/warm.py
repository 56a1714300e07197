"""Load on agents that run all the while, and which of its failures a fault explains: those at Envoy's deaths."""

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from homeport.load.plan import Expectation, Plan
from homeport.load.tally import Cause, Failure, Report
from homeport.load.thread import Load
from homeport.testing.chaos import programs
from homeport.testing.chaos.faults import Happened
from homeport.testing.system import System

AGENTS = ("warm-0", "warm-1")
RATE = 30.0  # a second and agent: enough to see any gap, little beside what runs on two cores
STREAMS = 4
_LOOK_S = 0.02
_MARGIN_S = 1.0  # around an absence: between a death and our note of it, and back, on a busy machine
_AT_ENVOY = frozenset({Cause.REFUSED, Cause.RESET, Cause.CUT, Cause.UNREACHABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """From an Envoy's death to the next one's first accepted connection. On the run's clock."""

    began_s: float
    ended_s: float


def loads(system: System) -> dict[str, Load]:
    """Plain requests at a fixed rate to each agent, and numbered streams of one of them. Not yet started."""
    headers = {"Authorization": f"Bearer {system.key}"}

    def plan(name: str, path: str = "/", **more: float | int | Expectation) -> Plan:
        url = f"{system.url}/default/agents/{name}{path}"
        return Plan(**{"url": url, "headers": headers, **more})  # type: ignore[arg-type]

    plain = {f"{name}, plain": Load(plan(name, rate=RATE, concurrency=30)) for name in AGENTS}
    whole = Expectation(numbered=True, lines=programs.LINES)
    streams = Load(plan(AGENTS[0], "/numbers", concurrency=STREAMS, expect=whole))
    return {**plain, f"{AGENTS[0]}, streams": streams}


class Doorkeeper(threading.Thread):
    """Notes when nothing listens on the gateway's port."""

    def __init__(self, port: int, began_s: float) -> None:
        super().__init__(name="doorkeeper", daemon=True)
        self.shut: list[list[float]] = []
        self._port = port
        self._began_s = began_s
        self._ending = threading.Event()

    def run(self) -> None:
        was_open = True
        while not self._ending.wait(_LOOK_S):
            is_open = self._is_open()
            now_s = time.monotonic() - self._began_s
            if was_open and not is_open:
                self.shut.append([now_s, now_s])
            elif not was_open:
                self.shut[-1][1] = now_s
            was_open = is_open

    def stop(self) -> None:
        self._ending.set()
        self.join()

    def _is_open(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=10.0):
                return True
        except TimeoutError:
            return True  # it is stopped, not gone: what comes waits for it
        except OSError:
            return False


def absences(happened: Sequence[Happened], shut: Sequence[Sequence[float]]) -> list[Absence]:
    """The times without Envoy that faults explain."""
    found = []
    for one in happened:
        if not one.envoy:
            continue
        latest_s = (one.ended_s or one.began_s) + _MARGIN_S
        ends = [to for since, to in shut if one.began_s - _MARGIN_S <= since <= latest_s or since <= one.began_s <= to]
        found.append(Absence(began_s=one.began_s, ended_s=max([one.began_s, *ends])))
    return found


def unexplained(report: Report, began_s: float, absent: Sequence[Absence]) -> list[tuple[float, Failure]]:
    """Failures that no death of Envoy explains, each with the moment of its end on the run's clock."""
    found = []
    for failure in report.failures:
        shift_s = report.began_s - began_s
        since, to = failure.began_s + shift_s, failure.ended_s + shift_s
        beside = any(since <= one.ended_s + _MARGIN_S and to >= one.began_s - _MARGIN_S for one in absent)
        if not (beside and failure.cause in _AT_ENVOY):
            found.append((to, failure))
    return found
