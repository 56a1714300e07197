"""Asynchronous calls: how many are accepted a second, each durable before its answer; how long an answer takes at 500 a
second; how soon they are made; and that none is lost or made twice when server and edge die with 2 000 under way.
"""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import repeat

import aiohttp

from bench.figures import Figure, Outcome, Refused
from bench.installation import installation, pids
from bench.load import at_rate, p99
from bench.trivial import PROGRAM
from homeport.testing.system import System, eventually

RATE = 500.0  # a second
SECONDS = 10.0
BURST = 5000
KILLED = 2000
CONNECTIONS = 64
BODY = b'{"inputs": "' + b"x" * 1000 + b'"}'
AGENT = "later"
CONFIG = "[invocations]\nparallel_per_agent = 100\n"
_LEFT = "SELECT count(*) FROM invocations WHERE status IN ('queued', 'running')"
_BAD = "SELECT count(*) FROM invocations WHERE status <> 'succeeded'"
_TWICE = (
    "SELECT count(*) FROM (SELECT invocation FROM invocation_attempts WHERE \"end\" = 'answered' "
    "GROUP BY invocation HAVING count(*) > 1)"
)


def run(rounds: int, scale: float) -> Outcome:
    accepted: list[float] = []
    middle: list[float] = []
    slowest: list[float] = []
    made: list[float] = []
    recovered: list[float] = []
    with installation(config=CONFIG) as system:
        trigger = {"id": "later", "type": "http-async", "configuration": {"retry": 20}}
        files = {"main.py": PROGRAM.read_text(), "blaxel.toml": '[entrypoint]\nprod = "python main.py"\n'}
        deployed = system.deploy("agents", AGENT, files, {"triggers": [trigger]})
        assert deployed["status"] == "DEPLOYED", deployed
        asyncio.run(_burst(system, max(20, int(200 * scale))))  # connections, code that was never run
        for _ in range(rounds):
            count = max(20, int(BURST * scale))
            accepted.append(count / asyncio.run(_burst(system, count)))
            _wait(system)
            times = asyncio.run(_steady(system, max(20, int(RATE * SECONDS * scale))))
            middle.append(sorted(times)[len(times) // 2])
            slowest.append(p99(times))
            began = time.monotonic()
            _wait(system)
            made.append(time.monotonic() - began)
            recovered.append(_killed(system, max(20, int(KILLED * scale))))
        bad, twice = _asked(system, _BAD), _asked(system, _TWICE)
    if bad or twice:
        raise Refused(f"{bad} calls did not succeed, {twice} were answered twice")
    return Outcome(
        figures=[
            Figure(name="accepted, 64 connections", unit="a second", rounds=accepted, least=RATE),
            Figure(name="answer at 500 a second, median", unit="ms", rounds=middle),
            Figure(name="answer at 500 a second, p99", unit="ms", rounds=slowest),
            Figure(name="until the last of these was made", unit="s", rounds=made),
            Figure(name="from SIGKILL of server and edge until all have ended", unit="s", rounds=recovered),
        ],
        notes=[
            "all calls succeeded, and none was answered twice, by the store's record",
            "load, gateway, edge, server and program share the machine's cores",
        ],
    )


async def _burst(system: System, count: int) -> float:
    """Seconds for `count` calls, each connection's next when the one before was answered."""
    async with _session(system) as session:
        left = iter(range(count))
        began = time.monotonic()
        await asyncio.gather(*(_some(session, left) for _ in range(CONNECTIONS)))
        return time.monotonic() - began


async def _some(session: aiohttp.ClientSession, left: Iterator[int]) -> None:
    for _ in left:
        await _call(session)


async def _steady(system: System, count: int) -> list[float]:
    async with _session(system) as session:
        return await at_rate([*repeat(partial(_call, session), count)], RATE)


def _session(system: System) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {system.key}"}, connector=connector, base_url=system.url
    )


async def _call(session: aiohttp.ClientSession) -> None:
    async with session.post(f"/default/agents/{AGENT}?async=true", data=BODY) as answer:
        await answer.read()
        if answer.status != 200:
            raise Refused(f"a call was answered {answer.status}")


def _killed(system: System, count: int) -> float:
    asyncio.run(_burst(system, count))
    held = pids(system)
    began = time.monotonic()
    for name in ("server", "edge"):
        os.kill(held[name], signal.SIGKILL)
    _wait(system)
    eventually(lambda: system.api.get("/agents").status_code == 200, "the API answers")
    return time.monotonic() - began


def _wait(system: System) -> None:
    eventually(lambda: _asked(system, _LEFT) == 0, "all calls have ended")


def _asked(system: System, query: str) -> int:
    """One number out of the store."""
    with closing(sqlite3.connect(f"file:{system.data.database}?mode=ro", uri=True)) as connection:
        return int(connection.execute(query).fetchone()[0] or 0)
