"""Routes of executions' histories, which are Homeport's own."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import WithJsonSchema

from homeport.api.dependencies import Caller, Ctx
from homeport.api.executions import ExecutionName
from homeport.app.histories import Verification, read_history, verify_execution
from homeport.app.pages import page_limit
from homeport.core.clock import timestamp
from homeport.core.limits import HISTORY_PAGE_LIMIT, HISTORY_PAGE_LIMIT_MAX
from homeport.core.units import signal_name
from homeport.jobs.entries import Entry, EntryKind
from homeport.wire.histories import ExecutionEntry, ExecutionHistory, ExecutionVerification, HistoryViolation

router = APIRouter(prefix="/v0/homeport/executions", tags=["homeport"])

HistoryLimit = Annotated[
    int,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": HISTORY_PAGE_LIMIT_MAX}),
    Query(ge=1, description="Entries on a page; more than the most counts as the most."),
]
SEQ_MOST = 2**53  # no history is that long; more digits than the store counts with would be a failure


@router.get(
    "/{executionId}/verification",
    operation_id="VerifyExecution",
    responses={200: {"model": ExecutionVerification}},
)
async def verify_execution_route(ctx: Ctx, caller: Caller, execution_id: ExecutionName) -> Any:
    """Replay the history, check every rule, and compare with what is stored. It may still run."""
    return _verification_of(await verify_execution(ctx, caller, execution_id)).to_json()


@router.get("/{executionId}/history", operation_id="ReadExecutionHistory", responses={200: {"model": ExecutionHistory}})
async def history_route(
    ctx: Ctx,
    caller: Caller,
    execution_id: ExecutionName,
    after: Annotated[int, Query(ge=0, le=SEQ_MOST, description="Only entries after this number.")] = 0,
    limit: HistoryLimit = HISTORY_PAGE_LIMIT,
) -> Any:
    """What happened, oldest first."""
    most = page_limit(limit, HISTORY_PAGE_LIMIT, HISTORY_PAGE_LIMIT_MAX)
    entries, following = await read_history(ctx, caller, execution_id, after, most)
    return ExecutionHistory(data=[_entry_of(entry) for entry in entries], next=following).to_json()


def _entry_of(entry: Entry) -> ExecutionEntry:
    stop = entry.kind is EntryKind.STOP_ASKED
    code = entry.code
    return ExecutionEntry(
        seq=entry.seq,
        time=timestamp(entry.at),
        kind=entry.kind.value,
        task=entry.index,
        attempt=entry.number,
        ended=entry.attempt.value if entry.attempt else None,
        exit_code=code if code is not None and code >= 0 else None,
        signal=signal_name(-code) if code is not None and code < 0 else None,
        task_status=entry.task.value if entry.task else None,
        not_before=timestamp(entry.due) if entry.due else None,
        status=entry.status.value if entry.status else None,
        tasks=None if stop else entry.amount,
        grace_seconds=entry.amount if stop else None,
    )


def _verification_of(verification: Verification) -> ExecutionVerification:
    execution, report = verification.execution, verification.report
    return ExecutionVerification(
        execution=execution.id,
        job=execution.job,
        status=execution.status.value,
        valid=not report.violated,
        complete=report.complete,
        tasks=report.total,
        terminal=report.terminal,
        lost=report.lost,
        run_twice=report.run_twice,
        most_at_once=report.most_at_once,
        parallelism=execution.parallelism,
        starts=report.starts,
        retries=report.retries,
        interrupted=report.interrupted,
        entries=report.entries,
        violated=report.violated,
        violations=[HistoryViolation(rule=one.rule, message=one.message, seq=one.seq) for one in report.violations],
    )
