"""Idle memory of server, edge and node: just started, and after a thousand requests to the API."""

import time

from bench.figures import Figure, Outcome
from bench.installation import COMPONENTS, installation, pids
from bench.machine import memory_mb
from homeport.testing.system import System

BOUND_MB = 200.0
QUIET_S = 2.0
REQUESTS = 1000


def run(rounds: int, scale: float) -> Outcome:
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        with installation() as system:
            _read(system, "after the start", values)
            for _ in range(max(1, int(REQUESTS * scale))):
                assert system.api.get("/policies").status_code == 200
            _read(system, "after a thousand requests", values)
    figures = [
        Figure(name=name, unit="MB", rounds=read, most=BOUND_MB if name.startswith("server + edge + node") else None)
        for name, read in values.items()
    ]
    return Outcome(figures=figures, notes=["proportional set size (PSS): what processes share is counted once"])


def _read(system: System, when: str, values: dict[str, list[float]]) -> None:
    time.sleep(QUIET_S)  # what is measured is rest
    found = {name: memory_mb(pid)["pss"] for name, pid in pids(system).items()}
    found = {"server + edge + node": sum(found[name] for name in COMPONENTS), **found}
    for name, megabytes in found.items():
        values.setdefault(f"{name}, {when}", []).append(megabytes)
