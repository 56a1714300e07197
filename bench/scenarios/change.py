"""From the answer to a PUT of a canary's percentage until the gateway shares requests so, with 2 000 deployed agents in
one workspace: 0 and 100 in turns, so that one request tells.

Each of the 2 000 runs: a program as small as it can be, in its sandbox. One is deployed; the others are copies of its
rows in the store, whose programs the next start brings back as it does after a reboot.
"""

import asyncio
import time
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import aiohttp

from bench.figures import Figure, Outcome
from bench.installation import VERSION, WORKSPACE, installation, pids
from bench.load import p99
from bench.machine import cpu_s
from bench.trivial import PROGRAM
from homeport.core.ids import Kind, ReplicaId, RevisionId, UnitId, new_id
from homeport.identity.principals import Role
from homeport.reconcile.observation import Workload, read_workload
from homeport.settings import DataDir
from homeport.store.contract import Transaction
from homeport.store.sqlite import SqliteStore, read_beside
from homeport.testing.factories import make_account
from homeport.testing.system import System, eventually
from homeport.workloads.states import ReplicaState
from homeport.workloads.traffic import Split, Traffic

AGENTS = 2000
BOUND_MS = 100.0
CHANGES = 100  # a round
BETWEEN_S = 0.1  # changes: one is over before the next
LOOK_S = 0.001
WAIT_S = 20.0
IDLE_S = 20.0
SMALL = {
    "main.pl": (PROGRAM.parent / "small.pl").read_text(),
    "blaxel.toml": '[entrypoint]\nprod = "perl main.pl"\n',
}
SPEC: dict[str, Any] = {"runtime": {"memory": 64}}
OTHER: dict[str, Any] = {"runtime": {"memory": 64, "envs": [{"name": "ANSWER", "value": "two"}]}}
FIRST_PORT = 20_000
_ROWS_A_COMMIT = 200


def run(rounds: int, scale: float) -> Outcome:
    count = max(2, int(AGENTS * scale))
    name = f"agent-{count - 1:04}"
    with installation() as system:
        deployed = system.deploy("agents", "agent-0000", SMALL, SPEC)
        assert deployed["status"] == "DEPLOYED", deployed
        assert system.command("down", "--drain", "0").returncode == 0
        asyncio.run(_copy(system.data, count))
        began = time.monotonic()
        system.up()
        eventually(lambda: _all_run(system), "every program runs", 900)
        brought_back_s = time.monotonic() - began
        split = _canary(system, name)
        outcome = asyncio.run(_measure(system, name, split, rounds, max(5, int(CHANGES * scale))))
        idle = _idle_share(system, max(1.0, IDLE_S * scale))
    note = f"{count} agents, brought back in {brought_back_s:.0f} s; at rest the server uses {idle:.1%} of a core"
    return replace(outcome, notes=[*outcome.notes, note])


def _canary(system: System, name: str) -> dict[str, str]:
    """A second revision of the agent, which answers otherwise, as its canary: `spec.revision` without the share."""
    deployed = system.deploy("agents", name, SMALL, {**OTHER, "revision": {"traffic": 50}})
    assert deployed["status"] == "DEPLOYED", deployed
    newer, older = (one["id"] for one in system.api.get(f"/agents/{name}/revisions").json()[:2])
    return {"active": older, "canary": newer}


def _all_run(system: System) -> bool:
    time.sleep(1)
    replicas = read_beside(system.data.database, lambda tx: tx.replicas.every())
    return all(one.state is ReplicaState.READY for one in replicas)


def _idle_share(system: System, watch_s: float) -> float:
    server = pids(system)["server"]
    before = cpu_s(server)
    time.sleep(watch_s)
    return (cpu_s(server) - before) / watch_s


async def _measure(system: System, name: str, split: dict[str, str], rounds: int, changes: int) -> Outcome:
    answered: list[float] = []
    effect: list[float] = []
    worst: list[float] = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {system.key}", **VERSION}) as session:
        for number in range(-1, rounds):
            found = []
            for turn in range(changes):
                await asyncio.sleep(BETWEEN_S)
                found.append(await _change(session, system, name, {**split, "canaryPercent": 100 * (turn % 2)}))
            if number >= 0:
                answered.append(median(put for put, _ in found))
                effect.append(median(live for _, live in found))
                worst.append(p99([live for _, live in found]))
    return Outcome(
        figures=[
            Figure(name="PUT, median", unit="ms", rounds=answered),
            Figure(name="from its answer to the effect, median", unit="ms", rounds=effect),
            Figure(name="from its answer to the effect, p99", unit="ms", rounds=worst, most=BOUND_MS),
        ]
    )


async def _change(
    session: aiohttp.ClientSession, system: System, name: str, revision: dict[str, Any]
) -> tuple[float, float]:
    """How long the PUT took, and how long after its answer a request has the other revision's answer (milliseconds;
    below zero: before it)."""
    expected = "two" if revision["canaryPercent"] else "one"
    watching = asyncio.ensure_future(_seen(session, f"{system.url}/{WORKSPACE}/agents/{name}", expected))
    body = {"metadata": {"name": name}, "spec": {**OTHER, "revision": revision}}
    began = time.perf_counter()
    async with session.put(f"{system.url}/v0/agents/{name}", json=body) as answer:
        text = await answer.read()
        assert answer.status == 200, text
        done = time.perf_counter()
    live = await watching
    return (done - began) * 1000, (live - done) * 1000


async def _seen(session: aiohttp.ClientSession, url: str, expected: str) -> float:
    """When a request is answered so for the first time. One follows the other closely: what is measured is not how
    often it is looked."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with session.get(url) as answer:
                text = await answer.text()
                assert answer.status == 200, text
                if text == expected:
                    return time.perf_counter()
            await asyncio.sleep(LOOK_S)


async def _copy(data: DataDir, count: int) -> None:
    """The one agent's rows `count` - 1 times more, under other names, ids and ports."""
    store = SqliteStore(data.database)
    await store.start()
    try:
        found = await store.read(_only)
        for first in range(1, count, _ROWS_A_COMMIT):
            numbers = range(first, min(count, first + _ROWS_A_COMMIT))
            await store.write(partial(_insert, found, numbers))
    finally:
        await store.stop()


def _only(tx: Transaction) -> Workload:
    resource = tx.resources.get(WORKSPACE, Kind.AGENT, "agent-0000")
    assert resource is not None
    return read_workload(resource, tx)


def _insert(known: Workload, numbers: range, tx: Transaction) -> None:
    for number in numbers:
        uid, name = new_id("agt", 16), f"agent-{number:04}"
        revision = RevisionId(new_id("rev"))
        split = Split(active=revision)
        tx.resources.insert(replace(known.resource, uid=uid, name=name, traffic=Traffic(served=split, wanted=split)))
        tx.identities.add_account(
            make_account(new_id("wl", 16), workspace=WORKSPACE, name=f"agent {name}", owner_uid=uid, role=Role.WORKLOAD)
        )
        tx.revisions.insert(replace(known.revisions[0], id=revision, resource_uid=uid, name=name))
        replica = ReplicaId(new_id("rep"))
        tx.replicas.insert(
            replace(
                known.replicas[0],
                id=replica,
                unit=UnitId(f"{replica}-0"),
                revision_id=revision,
                resource_uid=uid,
                port=FIRST_PORT + number,
            )
        )
