"""Homeport's own endpoints: what goes on, what programs print."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from homeport import __version__
from homeport.api.dependencies import Caller, Ctx
from homeport.api.observability import read_moment, read_severities, read_text
from homeport.app.logs import LogQuery, Record, read_logs
from homeport.app.severity import severity_of
from homeport.app.status import read_status
from homeport.core.clock import timestamp
from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import WORKLOADS, Kind
from homeport.wire.homeport import ReplicaStatus, Status

router = APIRouter(prefix="/v0/homeport", tags=["homeport"])


def workload_kind(kind: str) -> Kind:
    for known in WORKLOADS:
        if kind in (known.value, known.plural):
            return known
    raise NotFound(f"There are no workloads of kind {kind!r}; there are agents, functions and jobs.")


@router.get("/status", operation_id="GetStatus", responses={200: {"model": Status}})
async def status_route(ctx: Ctx, caller: Caller) -> Any:
    """What runs, how it is isolated, and what an operator should know."""
    status = await read_status(ctx, caller)
    return Status(
        version=__version__,
        url=ctx.base_url,
        workspace=caller.workspace,
        agents=status.agents,
        functions=status.functions,
        jobs=status.jobs,
        replicas=[
            ReplicaStatus(
                kind=found.kind.value,
                name=found.name,
                revision=replica.revision_id,
                state=replica.state.value,
                port=replica.port,
                restarts=replica.restarts,
                message=replica.message or None,
            )
            for found, replica in status.replicas
        ],
        executions={execution.id: execution.status.value for execution in status.executions},
        regions=[region.describe() for region in ctx.regions],
        sandbox=status.sandbox,
        notes=status.notes,
    ).to_json()


@router.get("/logs/{kind}/{name}", operation_id="ReadLogs")
async def logs_route(
    ctx: Ctx,
    caller: Caller,
    kind: str,
    name: str,
    source: str = "run",
    follow: bool = False,
    execution: str | None = None,
    task: int | None = None,
    revision: str | None = None,
    replica: str | None = None,
    since: Annotated[str, Query(description="RFC 3339; only lines from then on")] = "",
    until: Annotated[str, Query(description="The same; only lines before")] = "",
    severity: Annotated[str, Query(description="Levels, with commas between them; all if empty")] = "",
    text: Annotated[str, Query(description="Text that lines must contain")] = "",
    tail: Annotated[int, Query(ge=0, le=100_000, description="Only the last so many lines; 0 for all")] = 0,
) -> StreamingResponse:
    """Lines of output as NDJSON, oldest first; with `follow`, live, across restarts and new revisions."""
    if source not in ("build", "run"):
        raise Invalid("source", 'must be "build" or "run"', value=source)
    if follow and until:
        raise Invalid("until", "does not go with follow", value=until)
    query = LogQuery(
        build=source == "build",
        follow=follow,
        execution=execution,
        task=task,
        revision=revision,
        replica=replica,
        since=read_moment("since", since),
        until=read_moment("until", until),
        severities=read_severities(severity),
        text=read_text("text", text),
        tail=tail,
    )
    records = await read_logs(ctx, caller, workload_kind(kind), name, query)
    return StreamingResponse(_lines(records), media_type="application/x-ndjson")


async def _lines(records: AsyncIterator[Record]) -> AsyncIterator[str]:
    async for record in records:
        labels = {key: record.unit.labels[key] for key in _SHOWN if key in record.unit.labels}
        level = severity_of(record.text, record.stream).name
        told = {"time": timestamp(record.time), "stream": record.stream, "severity": level}
        line = {**told, "text": record.text, **labels}
        yield json.dumps(line) + "\n"  # ASCII: many a client ends a line at other characters, too, such as U+2028


_SHOWN = ("revision", "replica", "execution", "task", "attempt")
