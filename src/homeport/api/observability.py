"""The public CLI's search in logs. No part of the documented contract; the CLI reads it so."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from homeport.api.dependencies import Caller, Ctx
from homeport.app.log_search import FoundLines, LogSearch, search_logs
from homeport.app.pages import page_limit
from homeport.app.severity import Severity
from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import WORKLOADS, Kind
from homeport.wire.observability import FoundLogLine, FoundLogs, WorkloadLogs

router = APIRouter(prefix="/v0/observability", tags=["observability"])

LIMIT = 100
LIMIT_MOST = 1000  # what the public CLI asks for
OFFSET_MOST = 20_000  # a search looks at no more lines
WORKLOADS_MOST = 10  # in one request: each is a search
WINDOW = timedelta(hours=1)  # where the caller names no start
_YEARS = (1970, 9000)  # room to reckon with on either side
EXECUTION_LEAST = 8  # characters of an id: what the public CLI shows of it
SEARCH_MOST = 200  # characters

_KINDS = {kind.plural: kind for kind in WORKLOADS}
_UNSERVED = ("applications", "models", "sandboxes")
_TYPES = {"all": (True, True), "build": (True, False), "runtime": (False, True)}  # builds, programs
_TASK = re.compile(r"(?:task-)?(\d{1,9})", re.ASCII)
_EXECUTION = re.compile(r"[A-Za-z0-9_-]{8,63}", re.ASCII)


@router.get("/logs", operation_id="SearchLogs", responses={200: {"model": FoundLogs}})
async def search_logs_route(
    ctx: Ctx,
    caller: Caller,
    resource_type: Annotated[str, Query(alias="resourceType", description="agents, functions or jobs")],
    workload_ids: Annotated[str, Query(alias="workloadIds", description="Names, with commas between them")],
    start: Annotated[str, Query(description="RFC 3339, or a time in UTC without a zone; an hour ago if empty")] = "",
    end: Annotated[str, Query(description="The same; now if empty")] = "",
    log_type: Annotated[str, Query(alias="type", description="all, build or runtime")] = "all",
    limit: Annotated[int | None, Query(description="At most 1000; a larger one counts as that")] = None,
    offset: Annotated[int, Query(description="How many of the newest lines to leave out")] = 0,
    severity: Annotated[str, Query(description="Levels, with commas between them; all if empty")] = "",
    search: Annotated[str, Query(description="Text that lines must contain")] = "",
    task_id: Annotated[str, Query(alias="taskId", description="task-3, or 3")] = "",
    execution_id: Annotated[str, Query(alias="executionId", description="An id, or its first characters")] = "",
    trace_id: Annotated[str, Query(alias="traceId", description="No line here has one")] = "",
) -> Any:
    """What programs and builds printed, newest first, by workload. The newest build is shown from its beginning where
    `start` is within it or soon after it. Other parameters, such as `interval`, are ignored."""
    kind = _kind(resource_type)
    builds, programs = _sources(log_type)
    ends = read_moment("end", end) or ctx.clock.now()
    begins = read_moment("start", start) or ends - WINDOW
    if begins > ends:
        raise Invalid("start", "must not be after end", value=start)
    asked = LogSearch(
        start=begins,
        end=ends,
        limit=page_limit(limit, LIMIT, LIMIT_MOST),
        offset=_offset(offset),
        builds=builds,
        programs=programs,
        severities=read_severities(severity),
        text=read_text("search", search),
        execution=_execution(kind, execution_id),
        task=_task(kind, task_id),
        trace=trace_id,
    )
    found = {name: await search_logs(ctx, caller, kind, name, asked) for name in _names(workload_ids)}
    return {name: _workload_logs(lines).to_json() for name, lines in found.items()}


def _workload_logs(found: FoundLines) -> WorkloadLogs:
    lines = [
        FoundLogLine(timestamp=timestamp(line.time), message=line.text, severity=line.severity) for line in found.lines
    ]
    return WorkloadLogs(logs=lines, total_count=found.total)


def _kind(plural: str) -> Kind:
    if plural in _UNSERVED:
        raise NotFound(f"{plural.capitalize()} are not served by this version.")
    if plural not in _KINDS:
        raise Invalid("resourceType", f"must be one of {', '.join(_KINDS)}", value=plural)
    return _KINDS[plural]


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not 1 <= len(names) <= WORKLOADS_MOST:
        raise Invalid("workloadIds", f"must have 1 to {WORKLOADS_MOST} names", value=text)
    return names


def _sources(log_type: str) -> tuple[bool, bool]:
    if (log_type or "all") not in _TYPES:
        raise Invalid("type", f"must be one of {', '.join(_TYPES)}", value=log_type)
    return _TYPES[log_type or "all"]


def read_moment(field: str, text: str) -> datetime | None:
    """A time without a zone is in UTC: so the public CLI sends it."""
    if not text:
        return None
    rule = "must be a time such as 2026-01-31T12:00:00 or 2026-01-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else parse_timestamp(text)
    except (ValueError, OverflowError) as exc:
        raise Invalid(field, rule, value=text) from exc
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise Invalid(field, f"must be in the years {_YEARS[0]} to {_YEARS[1]}", value=text)
    return moment


def _offset(offset: int) -> int:
    if not 0 <= offset <= OFFSET_MOST:
        raise Invalid("offset", f"must be from 0 to {OFFSET_MOST}", value=offset)
    return offset


def read_severities(text: str) -> frozenset[Severity] | None:
    asked = {level.strip().upper() for level in text.split(",")} - {""}
    if unknown := sorted(asked - {"ALL", *Severity.__members__}):
        levels = ", ".join(["all", *Severity.__members__])
        raise Invalid("severity", f"must be levels out of {levels}", value=unknown[0])
    return None if not asked or "ALL" in asked else frozenset(Severity[level] for level in asked)


def read_text(field: str, text: str) -> str:
    if len(text) > SEARCH_MOST:
        raise Invalid(field, f"must have at most {SEARCH_MOST} characters")
    return text


def _execution(kind: Kind, text: str) -> str:
    if not text:
        return ""
    if kind is not Kind.JOB:
        raise Invalid("executionId", "goes with jobs only", value=text)
    if not _EXECUTION.fullmatch(text):
        raise Invalid("executionId", f"must be an id or at least its first {EXECUTION_LEAST} characters", value=text)
    return text


def _task(kind: Kind, text: str) -> int | None:
    if not text:
        return None
    if kind is not Kind.JOB:
        raise Invalid("taskId", "goes with jobs only", value=text)
    if (found := _TASK.fullmatch(text)) is None:
        raise Invalid("taskId", "must be a task's number or name, such as task-3", value=text)
    return int(found[1])
