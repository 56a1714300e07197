"""Create, get and list at 200 requests a second with 10 000 objects: policies, jobs and agents in turn. The rate is
kept whatever the answers take, a third of the requests for each operation."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiohttp

from bench.figures import Figure, Outcome, demand_margin
from bench.installation import VERSION, installation, objects, pids
from bench.load import Call, at_rate, p99
from bench.machine import cpu_s
from bench.trivial import trivial_server
from homeport.core.ids import Kind
from homeport.testing.system import System

OBJECTS = 10_000
RATE = 200.0  # requests a second
SECONDS = 10.0  # a round
BOUND_MS = 25.0
LIMIT = 50  # of a list
KINDS = (Kind.POLICY, Kind.JOB, Kind.AGENT)
OPERATIONS = ("create", "get", "list")
_CEILING_REQUESTS = 3000


def run(rounds: int, scale: float) -> Outcome:
    figures, notes = [], [asyncio.run(_ceiling(scale))]
    for kind in KINDS:
        figures += _run_kind(kind, rounds, scale)
    notes.append("each time is counted from the moment when the request was due")
    return Outcome(figures=figures, notes=notes)


def _run_kind(kind: Kind, rounds: int, scale: float) -> list[Figure]:
    times: dict[str, list[float]] = {operation: [] for operation in OPERATIONS}
    cpu: list[float] = []
    count = max(9, int(RATE * SECONDS * scale))
    with installation(objects(kind, max(LIMIT, int(OBJECTS * scale)))) as system:
        numbers = itertools.count()
        asyncio.run(_round(system, kind, max(9, count // 10), numbers))  # connections, code that was never run
        for _ in range(rounds):
            server = pids(system)["server"]
            before = cpu_s(server)
            found = asyncio.run(_round(system, kind, count, numbers))
            cpu.append((cpu_s(server) - before) * 1000 / count)
            for place, operation in enumerate(OPERATIONS):
                times[operation].append(p99(found[place :: len(OPERATIONS)]))
    found_p99 = [
        Figure(name=f"{kind.plural}: {operation}, p99", unit="ms", rounds=values, most=BOUND_MS)
        for operation, values in times.items()
    ]
    return [*found_p99, Figure(name=f"{kind.plural}: server's CPU a request", unit="ms", rounds=cpu)]


async def _round(system: System, kind: Kind, count: int, numbers: Iterator[int]) -> list[float]:
    headers = {"Authorization": f"Bearer {system.key}", **VERSION}
    async with aiohttp.ClientSession(f"{system.url}/v0/", headers=headers) as session:
        return await at_rate([*itertools.islice(_calls(session, kind, numbers), count)], RATE)


def _calls(session: aiohttp.ClientSession, kind: Kind, numbers: Iterator[int]) -> Iterator[Call]:
    """Create, get, list, create, …: names are new, or any of those that were there from the start."""
    chosen = random.Random(1)
    spec: dict[str, Any] = {"type": "location", "locations": [{"name": "eu", "type": "continent"}]}
    upload = {} if kind is Kind.POLICY else {"upload": "true"}
    for number in numbers:
        body = {"metadata": {"name": f"made-{number:06}"}, "spec": spec if kind is Kind.POLICY else {}}
        yield partial(_send, session.post, kind.plural, params=upload, json=body)
        yield partial(_send, session.get, f"{kind.plural}/{kind}-{chosen.randrange(LIMIT):05}")
        yield partial(_send, session.get, kind.plural, params={"limit": str(LIMIT)})


async def _send(method: Any, path: str, **sent: Any) -> None:
    async with method(path, **sent) as answer:
        text = await answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {text[:300]!r}"


async def _ceiling(scale: float) -> str:
    """What the generator manages by itself against a server that only answers."""
    count = max(50, int(_CEILING_REQUESTS * scale))
    with trivial_server() as url:
        async with aiohttp.ClientSession() as session:
            began = time.perf_counter()
            for _ in range(count // 10):
                await asyncio.gather(*(_send(session.get, url) for _ in range(10)))
            rate = count / (time.perf_counter() - began)
    return demand_margin("the load generator", rate, RATE, "requests a second")
