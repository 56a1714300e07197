"""The output of a workload's programs and builds, read from the units that wrote it, oldest first, live on request."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from homeport.app.context import Context
from homeport.app.resources import fetch
from homeport.core.errors import NotFound
from homeport.core.ids import ExecutionId, Kind, UnitId
from homeport.core.units import UnitKind, UnitState, UnitStatus
from homeport.drivers.contract import Driver
from homeport.identity.principals import Principal
from homeport.identity.roles import require

BATCH_LINES = 500  # lines a read: keeps one answer of the driver small
FOLLOW_INTERVAL_S = 0.2  # how soon a new line is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """`build` reads the builds, else the programs. `execution` and `task` narrow a job's, `revision` either. `tail`
    keeps the last lines of what exists now, 0 for all. `follow` goes on until nothing that could write is left, or the caller leaves."""

    build: bool = False
    follow: bool = False
    execution: str | None = None
    task: int | None = None
    revision: str | None = None
    tail: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A line with the unit that wrote it."""

    time: datetime
    stream: str
    text: str
    unit: UnitStatus


async def read_logs(
    context: Context, principal: Principal, kind: Kind, name: str, query: LogQuery
) -> AsyncIterator[Record]:
    """Lines of the workload's units. Raises `NotFound` before the first line."""
    require(principal, f"{kind.plural}:get")
    resource = await context.store.read(lambda tx: fetch(tx, principal.workspace, kind, name))
    if query.execution is not None:
        execution = await context.store.read(lambda tx: tx.executions.get(ExecutionId(query.execution or "")))
        if execution is None or execution.job_uid != resource.uid:
            raise NotFound(f"There is no execution {query.execution!r} of job {name!r}.")
    return _lines(context, resource.uid, query)


async def _lines(context: Context, resource_uid: str, query: LogQuery) -> AsyncIterator[Record]:
    offsets: dict[UnitId, int] = {}
    first = True
    while True:
        live = False
        batch: list[Record] = []
        for driver in context.drivers.values():
            for unit in await _units(driver, resource_uid, query):
                live = live or unit.state in (UnitState.STARTING, UnitState.RUNNING)
                async for record in _new_lines(driver, unit, offsets):
                    batch.append(record)
        batch.sort(key=lambda record: record.time)
        for record in batch[-query.tail :] if first and query.tail else batch:
            yield record
        first = False
        if not query.follow or (query.build and not live and batch == []):
            return
        await asyncio.sleep(FOLLOW_INTERVAL_S)


async def _units(driver: Driver, resource_uid: str, query: LogQuery) -> list[UnitStatus]:
    def wanted(unit: UnitStatus) -> bool:
        labels = unit.labels
        return (
            labels.get("resource") == resource_uid
            and (unit.kind is UnitKind.BUILD) == query.build
            and (query.execution is None or labels.get("execution") == query.execution)
            and (query.revision is None or labels.get("revision") == query.revision)
            and (query.task is None or labels.get("task") == str(query.task))
        )

    return [unit for unit in await driver.units() if wanted(unit)]


async def _new_lines(driver: Driver, unit: UnitStatus, offsets: dict[UnitId, int]) -> AsyncIterator[Record]:
    while lines := await driver.log(unit.id, offsets.get(unit.id, 0), BATCH_LINES):
        for line in lines:
            yield Record(time=line.time, stream=line.stream, text=line.text, unit=unit)
        offsets[unit.id] = lines[-1].offset
