"""Routes of executions and their tasks (public contract). The gateway's form of the address, without /v0, leads here
too."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import WithJsonSchema

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx, Cursor, ExecutionLimit, Limit, Paged, Search, Sort
from homeport.api.views import accepted_execution, execution_of, task_of
from homeport.app.executions import (
    ExecutionIntent,
    cancel_execution,
    create_execution,
    get_execution,
    list_executions,
    list_tasks,
)
from homeport.app.pages import PageRequest
from homeport.core.errors import Invalid, NotFound
from homeport.core.limits import EXECUTION_PAGE_LIMIT, PAGE_LIMIT, STOP_GRACE_S, STOP_GRACE_S_MAX
from homeport.wire.executions import (
    CreateJobExecutionOutput,
    CreateJobExecutionRequest,
    JobExecution,
    JobExecutionList,
    JobExecutionTaskList,
)
from homeport.wire.pages import page_of

router = APIRouter(tags=["jobs"], route_class=JsonRoute)
ADDRESS = "/v0/jobs/{jobId}/executions"
GATEWAY_ADDRESS = "/{ws}/jobs/{jobId}/executions"  # the contract's inference form
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": JobExecution}}
TASKS_SHOWN = 1000  # above this the tasks are read by page only: an answer of a million is no answer
OFFSET_MOST = 2**53  # no list is that long; more digits than the store counts with are an empty page, not a failure

JobName = Annotated[str, Path(alias="jobId")]
ExecutionName = Annotated[str, Path(alias="executionId")]
Offset = Annotated[
    int,
    WithJsonSchema({"type": "integer", "minimum": 0}),
    Query(description="For the old version of the contract, which has no cursors."),
]


@router.get("", operation_id="ListJobExecutions", responses={200: {"model": JobExecutionList}})
async def list_executions_route(
    ctx: Ctx,
    caller: Caller,
    paged: Paged,
    job: JobName,
    limit: ExecutionLimit = EXECUTION_PAGE_LIMIT,
    offset: Offset = 0,
    cursor: Cursor = None,
    sort: Sort = None,
    q: Search = None,
) -> Any:
    """Newest first. The old version of the contract pages by offset and answers a bare array."""
    if not paged:
        start = min(max(0, offset), OFFSET_MOST)
        items, _, _ = await list_executions(ctx, caller, job, PageRequest(limit=limit), start)
        return [execution_of(item).to_json() for item in items]
    request = PageRequest(cursor=cursor, limit=limit, sort=sort, q=q)
    items, following, total = await list_executions(ctx, caller, job, request)
    return page_of([execution_of(item) for item in items], following, total).to_json()


@router.post("", operation_id="CreateJobExecution", responses={200: {"model": CreateJobExecutionOutput}})
async def create_execution_route(ctx: Ctx, caller: Caller, job: JobName, body: CreateJobExecutionRequest) -> Any:
    """Start an execution. The echo of the tasks is left out above 1 000 of them."""
    tasks = body.tasks_to_run()
    intent = ExecutionIntent(
        tasks=tasks,
        env=body.env or {},
        memory=body.memory,
        execution_id=body.execution_id,
        request_id=body.id,
        allow_queue=body.may_queue(),
    )
    execution = await create_execution(ctx, caller, job, intent)
    return accepted_execution(execution, tasks if len(tasks) <= TASKS_SHOWN else None).to_json()


@router.get("/{executionId}", operation_id="GetJobExecution", responses=SHAPE)
async def get_execution_route(ctx: Ctx, caller: Caller, job: JobName, execution_id: ExecutionName) -> Any:
    execution, tasks = await get_execution(ctx, caller, job, execution_id, TASKS_SHOWN)
    return execution_of(execution, tasks if execution.total <= TASKS_SHOWN else None).to_json()


@router.delete("/{executionId}", operation_id="DeleteJobExecution", responses=SHAPE)
async def cancel_execution_route(
    ctx: Ctx,
    caller: Caller,
    job: JobName,
    execution_id: ExecutionName,
    now: Annotated[bool, Query(description="Stop running tasks, too.")] = False,
    grace: Annotated[
        int | None, Query(ge=0, le=STOP_GRACE_S_MAX, description="With `now`: seconds from SIGTERM to SIGKILL.")
    ] = None,
) -> Any:
    """Cancel, not erase (public contract): nothing new starts, and running tasks finish unless `now` is true."""
    if grace is not None and not now:
        raise Invalid("grace", "goes with now=true", value=grace)
    grace_s = (STOP_GRACE_S if grace is None else grace) if now else None
    return execution_of(await cancel_execution(ctx, caller, job, execution_id, grace_s)).to_json()


@router.get(
    "/{executionId}/tasks", operation_id="ListJobExecutionTasks", responses={200: {"model": JobExecutionTaskList}}
)
async def list_tasks_route(
    ctx: Ctx,
    caller: Caller,
    paged: Paged,
    job: JobName,
    execution_id: ExecutionName,
    cursor: Cursor = None,
    limit: Limit = PAGE_LIMIT,
    sort: Sort = None,
    q: Search = None,
) -> Any:
    if not paged:
        raise NotFound("Tasks are listed from Blaxel-Version 2026-04-28 on.", hint="Send that header.")
    request = PageRequest(cursor=cursor, limit=limit, sort=sort, q=q)
    execution, page = await list_tasks(ctx, caller, job, execution_id, request)
    return page_of([task_of(execution, task) for task in page.items], page.cursor, page.total).to_json()
