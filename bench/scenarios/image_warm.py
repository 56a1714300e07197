"""A warm request to an agent in a container beside one to the same program in a sandbox, behind the same gateway.

Envoy has one core to itself, the load generator and the program share another, as in `warm`.
"""

import os
from typing import Any

from bench import engine as engines
from bench.engine import deploy_image
from bench.figures import Figure, Outcome, Refused
from bench.installation import pids
from bench.load import Burst, burst, require_h2load
from bench.machine import cpu_s, pin
from bench.trivial import PROGRAM
from homeport.testing.system import System

TIMES_MOST = 1.1  # what a request to a process takes
REQUESTS = 30_000  # a round and target
CONNECTIONS = 32
SINGLE_REQUESTS = 3_000  # over one connection
NAMES = ("process", "container")


def run(rounds: int, scale: float) -> Outcome:
    require_h2load()
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise Refused("Envoy needs a core of its own, and this machine has one only")
    measured: dict[str, list[tuple[Burst, Burst, float]]] = {name: [] for name in NAMES}
    with engines.engine() as running, engines.installation_with(running) as system:
        _deploy(system, others[0])
        pin(pids(system)["envoy"], {first})
        for number in range(-1, rounds):
            for name in NAMES if number % 2 else reversed(NAMES):
                found = _measure(system, name, others[0], scale)
                if number >= 0:
                    measured[name].append(found)
    return Outcome(figures=_figures(measured))


def _deploy(system: System, core: int) -> None:
    runtime: dict[str, Any] = {"envs": [{"name": "BENCH_CORES", "value": str(core)}], "memory": 256}
    made = [system.deploy("agents", "process", {"main.py": PROGRAM.read_text()}, {"runtime": runtime})]
    made.append(deploy_image(system, "agents", "container", runtime))
    for one in made:
        if one["status"] != "DEPLOYED":
            raise Refused(f"an agent does not run: {one['events'][-1:]}")


def _measure(system: System, name: str, core: int, scale: float) -> tuple[Burst, Burst, float]:
    """Many connections, one connection, and Envoy's CPU time for each request of the first in microseconds."""
    url, headers = f"{system.url}/default/agents/{name}", {"Authorization": f"Bearer {system.key}"}
    envoy, requests = pids(system)["envoy"], max(500, int(REQUESTS * scale))
    before = cpu_s(envoy)
    many = burst(url, headers, requests=requests, connections=CONNECTIONS, cores={core})
    used = (cpu_s(envoy) - before) * 1e6 / requests
    single = max(100, int(SINGLE_REQUESTS * scale))
    return many, burst(url, headers, requests=single, connections=1, cores={core}), used


def _figures(measured: dict[str, list[tuple[Burst, Burst, float]]]) -> list[Figure]:
    one = {name: [single.median_ms for _, single, _ in found] for name, found in measured.items()}
    many = {name: [burst.rps for burst, _, _ in found] for name, found in measured.items()}
    cpu = {name: [used for *_, used in found] for name, found in measured.items()}
    return [
        *(Figure(name=f"median at one connection, {name}", unit="ms", rounds=values) for name, values in one.items()),
        Figure(name="median, container to process", unit="", rounds=_ratios(one), most=TIMES_MOST),
        *(Figure(name=f"throughput, {name}", unit="1/s", rounds=values) for name, values in many.items()),
        Figure(name="throughput, container to process", unit="", rounds=_ratios(many)),
        *(Figure(name=f"Envoy's CPU a request, {name}", unit="µs", rounds=values) for name, values in cpu.items()),
    ]


def _ratios(rounds: dict[str, list[float]]) -> list[float]:
    return [ours / other for ours, other in zip(rounds["container"], rounds["process"], strict=True)]
