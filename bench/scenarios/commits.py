"""Durable changes of task states: claimed, started, ended, by the same statements as the runner's, with 64 tasks under
way. Grouped commits beside one commit for each change, on the disk of the temporary directory.

The programs are left out: what is measured is the store, with its log, its counts and its synchronised commits.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

from bench.figures import Figure, Outcome
from homeport.core.clock import SystemClock
from homeport.core.ids import ExecutionId, new_id
from homeport.core.units import Outcome as UnitOutcome
from homeport.runner.outcomes import finish_attempt, settle
from homeport.store import writer
from homeport.store.contract import Transaction, attempt_unit
from homeport.store.records import Task
from homeport.store.sqlite import SqliteStore
from homeport.testing.factories import make_execution

LEAST = 2000.0  # changes a second
TASKS = 4000  # a round; three changes each
TASKS_ALONE = 600  # a round with one commit for each: slower, so fewer
LANES = 64  # tasks under way at once
WAITING = 100_000  # tasks of the execution that wait, so that claims are made from a large table
CHANGES = 3  # claimed, started, ended
SYNCS = 200
CLOCK = SystemClock()


def run(rounds: int, scale: float) -> Outcome:
    return asyncio.run(_run(rounds, scale))


async def _run(rounds: int, scale: float) -> Outcome:
    grouped: list[float] = []
    alone: list[float] = []
    syncs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as directory:
        store = SqliteStore(Path(directory) / "homeport.db")
        await store.start()
        try:
            for number in range(-1, rounds):  # the first is not counted
                execution = await _fill(store, max(LANES, int(WAITING * scale)))
                rate = await _rate(store, execution, max(LANES, int(TASKS * scale)))
                with _one_commit_each():
                    rate_alone = await _rate(store, execution, max(LANES, int(TASKS_ALONE * scale)))
                sync = _sync_ms(Path(directory))
                if number >= 0:
                    grouped.append(rate)
                    alone.append(rate_alone)
                    syncs.append(sync)
        finally:
            await store.stop()
    ratios = [one / other for one, other in zip(grouped, alone, strict=True)]
    return Outcome(
        figures=[
            Figure(name="changes, grouped commits", unit="1/s", rounds=grouped, least=LEAST),
            Figure(name="changes, one commit each", unit="1/s", rounds=alone),
            Figure(name="grouped / one each", unit="", rounds=ratios),
            Figure(name="fsync of 4 KiB there, median", unit="ms", rounds=syncs),
        ],
        notes=[f"{LANES} tasks under way at once; a task has {CHANGES} changes"],
    )


async def _fill(store: SqliteStore, count: int) -> ExecutionId:
    """An execution of `count` tasks that wait."""
    made = make_execution(new_id("exec"), parallelism=LANES)
    now = CLOCK.now()
    await store.write(lambda tx: tx.executions.insert(made))
    for first in range(0, count, 5000):
        part = ['{"n":1}'] * min(5000, count - first)
        await store.write(partial(_add, made.id, first, part, now))
    return made.id


def _add(execution: ExecutionId, first: int, part: list[str], now: datetime, tx: Transaction) -> None:
    tx.executions.add_tasks(execution, first, part, now)


async def _rate(store: SqliteStore, execution: ExecutionId, count: int) -> float:
    """Changes a second while `count` tasks are claimed, started and ended."""
    began = time.perf_counter()
    done = await asyncio.gather(*(_lane(store, execution, count // LANES) for _ in range(LANES)))
    changes = CHANGES * sum(done)
    rate = changes / (time.perf_counter() - began)
    stored = await store.read(lambda tx: tx.executions.get(execution))
    assert stored is not None and stored.succeeded >= sum(done), "every change is there"
    return rate


async def _lane(store: SqliteStore, execution: ExecutionId, count: int) -> int:
    """One place of the runner: a task after the other."""
    for _ in range(count):
        [task] = await store.write(partial(_claim, execution))
        unit = attempt_unit(execution, task.index, task.attempts)
        lease = task.lease or ""
        now = CLOCK.now()
        assert await store.write(lambda tx: tx.executions.start_attempt(unit, lease, now))  # noqa: B023
        await store.write(lambda tx: finish_attempt(tx, unit, UnitOutcome(exit_code=0), now))  # noqa: B023
    return count


def _claim(execution: ExecutionId, tx: Transaction) -> list[Task]:
    now = CLOCK.now()
    tasks = tx.executions.claim(execution, 1, now, new_id("lease", 16), now + timedelta(minutes=5))
    settle(tx, execution, now)
    return tasks


@contextmanager
def _one_commit_each() -> Iterator[None]:
    size = writer.GROUP_SIZE
    writer.GROUP_SIZE = 1
    try:
        yield
    finally:
        writer.GROUP_SIZE = size


def _sync_ms(directory: Path) -> float:
    """What a synchronised write of one page costs on this disk."""
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"\0" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return median(times)
