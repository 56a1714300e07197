"""The load generators: h2load for as fast as it goes, one loop of aiohttp for a fixed rate. Loopback only.

h2load (Debian: nghttp2-client) is in C, takes a fixed number of requests and tells of each how long it took.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from bench.figures import Refused

RUN_BOUND_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What h2load saw: requests a second, and the median time of a request in milliseconds."""

    rps: float
    median_ms: float


def require_h2load() -> None:
    """Raises `Refused` when it is not installed."""
    if shutil.which("h2load") is None:
        raise Refused("h2load is not installed (Debian and Ubuntu: apt-get install nghttp2-client)")


def burst(
    url: str, headers: Mapping[str, str], *, requests: int, connections: int, cores: set[int], body: bytes = b""
) -> Burst:
    """`requests` requests over `connections` connections, each as soon as the one before is answered; with a `body`
    they are POST. Raises `Refused` when any is not answered 2xx."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "requests"
        sent = [option for name, value in headers.items() for option in ("-H", f"{name}: {value}")]
        count = ["-n", str(requests), "-c", str(connections), "-t", "1"]
        if body:
            data = Path(directory) / "body"
            data.write_bytes(body)
            count += ["-d", str(data)]
        done = subprocess.run(
            ["h2load", "--h1", *count, f"--log-file={log}", *sent, url],
            capture_output=True,
            text=True,
            timeout=RUN_BOUND_S,
            check=False,
            preexec_fn=partial(os.sched_setaffinity, 0, cores),
        )
        if done.returncode:
            raise Refused(f"h2load ended with code {done.returncode}: {done.stderr.strip()}")
        return _read_log(log, requests)


def _read_log(log: Path, requests: int) -> Burst:
    """Each line: start in microseconds, status, microseconds until the end of the answer."""
    rows = [tuple(int(field) for field in line.split("\t")[:3]) for line in log.read_text().splitlines()]
    failed = requests - sum(200 <= status < 300 for _, status, _ in rows)
    if failed:
        raise Refused(f"{failed} of {requests} requests were not answered 2xx")
    began = min(start for start, _, _ in rows)
    ended = max(start + took for start, _, took in rows)
    return Burst(rps=requests / ((ended - began) / 1e6), median_ms=median(took for _, _, took in rows) / 1000)


Call = Callable[[], Awaitable[None]]


async def at_rate(calls: Sequence[Call], rate: float) -> list[float]:
    """Begin the calls at a fixed rate (a second), however long each takes; how long each took, in milliseconds, from
    the moment when it was due: a server that lags does not get fewer requests, and a generator that lags counts
    against the server."""
    began = time.perf_counter() + 0.05

    async def one(position: int, call: Call) -> float:
        due = began + position / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await call()
        return (time.perf_counter() - due) * 1000

    return [*await asyncio.gather(*(one(position, call) for position, call in enumerate(calls)))]


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]
