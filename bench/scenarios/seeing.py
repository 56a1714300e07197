"""What it costs to be seen: Envoy's CPU for a request with the statistics that metrics need, and with a tenth traced
besides, beside an Envoy that counts what Homeport counted without either; and a scrape of many workloads.

The Envoys differ in that only: one listener, one route, one cluster. The collector is in this process.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.figures import Figure, Outcome, Refused, turned
from bench.load import burst, require_h2load
from bench.machine import cpu_s, pin
from bench.trivial import answers, trivial_server
from homeport.dataplane.admin import envoy_counts
from homeport.dataplane.bootstrap import envoy_command, statistics
from homeport.dataplane.statistics import DURATION, admin_query, relabelled
from homeport.dataplane.tracing import SETTINGS, Collector, collector_cluster, tracing
from homeport.testing.collector import running_collector
from homeport.testing.system import eventually, free_port

REQUESTS = 40_000  # a round and Envoy
CONNECTIONS = 32
WORKLOADS = 1_000
COUNTED_MOST = 1.15  # times the CPU a request of an Envoy without
TRACED_MOST = 1.5
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_FEW = [
    {"suffix": f".upstream_{name}"} for name in ("rq_active", "rq_total", "rq_pending_active", "rq_5xx", "cx_active")
]


def run(rounds: int, scale: float) -> Outcome:
    require_h2load()
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise Refused("Envoy needs a core of its own, and this machine has one only")
    with ExitStack() as stack:
        collector = stack.enter_context(running_collector())
        port = int(stack.enter_context(trivial_server({others[0]})).rsplit(":", 1)[1].strip("/"))
        to = Collector(endpoint=f"http://127.0.0.1:{collector.grpc_port}")
        envoys = {
            name: stack.enter_context(_envoy(port, counted, traced, 1))
            for name, counted, traced in (("neither", False, None), ("counted", True, None), ("traced", True, to))
        }
        cpu: dict[str, list[float]] = {name: [] for name in envoys}
        requests = max(500, int(REQUESTS * scale))
        for number in range(-1, rounds):  # the first is not counted: connections, pages, caches
            for name in turned(envoys, number):
                url, pid, _ = envoys[name]
                pin(pid, {first})
                before = cpu_s(pid)
                burst(f"{url}w0/", {}, requests=requests, connections=CONNECTIONS, cores={others[0]})
                if number >= 0:
                    cpu[name].append((cpu_s(pid) - before) * 1e6 / requests)
        spans = len(collector.spans)
    scrapes = _scrapes(rounds, max(10, int(WORKLOADS * scale)))
    figures = [
        *(Figure(name=f"Envoy's CPU a request, {name}", unit="µs", rounds=used) for name, used in cpu.items()),
        Figure(name="counted beside neither", unit="", rounds=_ratios(cpu, "counted"), most=COUNTED_MOST),
        Figure(name="traced beside neither", unit="", rounds=_ratios(cpu, "traced"), most=TRACED_MOST),
        *scrapes,
    ]
    return Outcome(figures=figures, notes=[f"{spans} spans reached the collector"])


def _ratios(cpu: dict[str, list[float]], name: str) -> list[float]:
    return [ours / without for ours, without in zip(cpu[name], cpu["neither"], strict=True)]


def _scrapes(rounds: int, workloads: int) -> list[Figure]:
    """Of an Envoy in which every workload had a request: its CPU, the server's, and how much is told."""
    envoy_ms, server_ms, size = [], [], []
    with trivial_server() as program, _envoy(int(program.rsplit(":", 1)[1].strip("/")), True, None, workloads) as envoy:
        url, pid, admin = envoy
        with httpx.Client() as client:
            for number in range(workloads):
                client.get(f"{url}w{number}/").raise_for_status()
        timed = f"{DURATION[1:]}_count{{"
        eventually(lambda: _shown(admin).count(timed) >= workloads, "Envoy has merged the times of all")
        for _ in range(rounds):
            before = cpu_s(pid)
            shown = _shown(admin)
            envoy_ms.append((cpu_s(pid) - before) * 1000)
            began = time.process_time()
            text = relabelled(shown, gateway=True)
            server_ms.append((time.process_time() - began) * 1000)
            size.append(len(text) / 1024)
    return [
        Figure(name=f"scrape of {workloads} workloads, Envoy's CPU", unit="ms", rounds=envoy_ms),
        Figure(name=f"scrape of {workloads} workloads, the server's", unit="ms", rounds=server_ms),
        Figure(name=f"scrape of {workloads} workloads, size", unit="kB", rounds=size),
    ]


def _shown(admin: Path) -> str:
    shown = asyncio.run(envoy_counts(admin, admin_query(None)))
    if shown is None:
        raise Refused("Envoy does not tell what it has counted")
    return shown


@contextmanager
def _envoy(port: int, counted: bool, collector: Collector | None, workloads: int) -> Iterator[tuple[str, int, Path]]:
    """An Envoy with a route and a cluster for each workload; its URL, its process, and where it answers for itself."""
    listen = free_port()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as directory:
        admin = Path(directory) / "admin.sock"
        config = Path(directory) / "envoy.json"
        config.write_text(json.dumps(_config(listen, port, admin, counted, collector, workloads)))
        process = subprocess.Popen(envoy_command(config, log_level="error", concurrency=1))
        url = f"http://127.0.0.1:{listen}/"
        try:
            eventually(lambda: answers(f"{url}w0/"), "Envoy answers")
            yield url, process.pid, admin
        finally:
            process.terminate()
            process.wait()


def _config(
    listen: int, port: int, admin: Path, counted: bool, collector: Collector | None, workloads: int
) -> dict[str, Any]:
    names = [f"acme/agents/w{number}/rev-1" for number in range(workloads)]
    routes = [{"match": {"prefix": f"/w{number}/"}, "route": {"cluster": name}} for number, name in enumerate(names)]
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
        **({"tracing": tracing(collector)} if collector else {}),
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    clusters = [_cluster(name, port) for name in names]
    few = {"stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _FEW}}}}
    return {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {
            "listeners": [{"name": "bare", "address": _address(listen), "filter_chains": [chain]}],
            "clusters": [*clusters, *([collector_cluster(collector)] if collector else [])],
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": SETTINGS}]},
        **(statistics() if counted else {"deferred_stat_options": {"enable_deferred_creation_stats": True}, **few}),
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
