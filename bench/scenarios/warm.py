"""A warm agent's request with authentication through Homeport, beside a bare Envoy in front of the same program, and
beside the program called directly.

Envoy has one core to itself, the load generator and the program share another: so Envoy is what limits, and the two
Envoys are compared, not the rest of the machine.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, Outcome, Refused, demand_margin, turned
from bench.installation import installation, pids
from bench.load import Burst, burst, require_h2load
from bench.machine import cpu_s, pin
from bench.trivial import PROGRAM, answers
from homeport.dataplane.bootstrap import envoy_command
from homeport.testing.system import System, eventually, free_port

CPU_MOST = 1.5  # times a bare Envoy's CPU a request
THROUGHPUT_LEAST = 0.65  # of a bare Envoy's
LATENCY_MOST_MS = 0.5  # more than calling the program directly
REQUESTS = 60_000  # a round and target
CONNECTIONS = 32
SINGLE_REQUESTS = 3_000  # over one connection
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def run(rounds: int, scale: float) -> Outcome:
    require_h2load()
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise Refused("Envoy needs a core of its own, and this machine has one only")
    with installation() as system:
        port = _deploy(system, others[0])
        with _bare_envoy(port) as (bare_url, bare_pid):
            envoys = {"bare Envoy": bare_pid, "Homeport": pids(system)["envoy"]}
            for pid in envoys.values():
                pin(pid, {first})
            urls = {
                "bare Envoy": bare_url,
                "Homeport": f"{system.url}/default/agents/bench",
                "direct": f"http://127.0.0.1:{port}/",
            }
            measured = _Rounds(urls, envoys, {"Authorization": f"Bearer {system.key}"}, {others[0]}, scale)
            for number in range(-1, rounds):  # the first is not counted: connections, pages, caches
                measured.measure(number)
    return measured.outcome()


class _Rounds:
    """The figures as they come."""

    def __init__(
        self, urls: dict[str, str], envoys: dict[str, int], headers: dict[str, str], cores: set[int], scale: float
    ) -> None:
        self._urls = urls
        self._envoys = envoys
        self._headers = headers
        self._cores = cores
        self._scale = scale
        self._many: dict[str, list[Burst]] = {name: [] for name in urls}
        self._single: dict[str, list[Burst]] = {name: [] for name in urls}
        self._cpu_us: dict[str, list[float]] = {name: [] for name in envoys}

    def measure(self, number: int) -> None:
        """One round: every target, in another order each time, so that none always comes after the same."""
        for name in turned(self._urls, number):
            many, cpu_us = self._burst_with_cpu(name)
            single = self._burst(name, SINGLE_REQUESTS, 1)
            if number < 0:
                continue
            self._many[name].append(many)
            self._single[name].append(single)
            if name in self._envoys:
                self._cpu_us[name].append(cpu_us)

    def _burst_with_cpu(self, name: str) -> tuple[Burst, float]:
        requests = max(500, int(REQUESTS * self._scale))
        pid = self._envoys.get(name)
        before = cpu_s(pid) if pid else 0.0
        done = self._burst(name, requests, CONNECTIONS)
        used = cpu_s(pid) - before if pid else 0.0
        return done, used * 1e6 / requests

    def _burst(self, name: str, requests: int, connections: int) -> Burst:
        count = max(100, int(requests * self._scale)) if connections == 1 else requests
        return burst(self._urls[name], self._headers, requests=count, connections=connections, cores=self._cores)

    def outcome(self) -> Outcome:
        rps = {name: [one.rps for one in bursts] for name, bursts in self._many.items()}
        p50 = {name: [one.median_ms for one in bursts] for name, bursts in self._single.items()}
        cpu = self._cpu_us
        # Both share one core here, as they do while an Envoy is measured: what they manage together is less than the
        # ceiling of either.
        together = Figure(name="", unit="", rounds=rps["direct"]).median
        fastest = max(max(rps[name]) for name in self._envoys)
        note = demand_margin("generator and program together", together, fastest, "requests a second")
        more = [ours - direct for ours, direct in zip(p50["Homeport"], p50["direct"], strict=True)]
        figures = [
            *(Figure(name=f"Envoy's CPU a request, {name}", unit="µs", rounds=used) for name, used in cpu.items()),
            Figure(name="Envoy's CPU, ratio", unit="", rounds=_ratios(cpu), most=CPU_MOST),
            *(Figure(name=f"throughput, {name}", unit="1/s", rounds=rates) for name, rates in rps.items()),
            Figure(name="throughput, ratio", unit="", rounds=_ratios(rps), least=THROUGHPUT_LEAST),
            *(Figure(name=f"median at one connection, {name}", unit="ms", rounds=times) for name, times in p50.items()),
            Figure(name="median, more than direct", unit="ms", rounds=more, most=LATENCY_MOST_MS),
        ]
        return Outcome(figures=figures, notes=[note])


def _ratios(rounds: dict[str, list[float]]) -> list[float]:
    """Homeport beside the bare Envoy, round by round."""
    return [ours / bare for ours, bare in zip(rounds["Homeport"], rounds["bare Envoy"], strict=True)]


def _deploy(system: System, core: int) -> int:
    """The program as an agent of Homeport; the port on which its replica listens."""
    spec = {"runtime": {"envs": [{"name": "BENCH_CORES", "value": str(core)}]}}
    deployed = system.deploy("agents", "bench", {"main.py": PROGRAM.read_text()}, spec)
    assert deployed["status"] == "DEPLOYED", deployed
    return int(system.gateway.get("/agents/bench").json()["port"])


@contextmanager
def _bare_envoy(port: int) -> Iterator[tuple[str, int]]:
    """An Envoy with one listener, one route and one cluster; its URL and its process. As many workers as ours."""
    listen = free_port()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as directory:
        config = Path(directory) / "bare.json"
        config.write_text(json.dumps(_bare_bootstrap(listen, port)))
        process = subprocess.Popen(envoy_command(config, log_level="error"))
        url = f"http://127.0.0.1:{listen}/"
        try:
            eventually(lambda: answers(url), "the bare Envoy answers")
            yield url, process.pid
        finally:
            process.terminate()
            process.wait()


def _bare_bootstrap(listen: int, port: int) -> dict[str, object]:
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "bare",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "program"}}],
                }
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    cluster = {
        "name": "program",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "program",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }
    listener = {"name": "bare", "address": _address(listen), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
