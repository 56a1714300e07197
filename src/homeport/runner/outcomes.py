"""How attempts ended: read from the driver's journal, in order, each applied once, with the reader's position in the
same commit. A server that dies in between reads the same ends again and finds them applied. What ends while one commit
is being made durable shares the next, so that a slow disk does not hold up many short tasks."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from homeport.core.clock import Clock
from homeport.core.errors import Unavailable
from homeport.core.ids import ExecutionId, UnitId
from homeport.core.units import Outcome, UnitExit, UnitKind
from homeport.drivers.contract import Driver
from homeport.jobs.execution import Counts, status_of
from homeport.jobs.retry import AttemptRule, after_attempt, jitter_of
from homeport.jobs.states import AttemptState, ExecutionStatus
from homeport.store.contract import Store, Transaction
from homeport.store.records import Attempt, Execution, Task, TaskFinish

log = logging.getLogger(__name__)

# While others of its tasks are open, the end of one changes nothing about these; to look again costs as much as to
# finish the task.
_GOES_ON = (ExecutionStatus.RUNNING, ExecutionStatus.CANCELLING)
AGAIN_S = 1.0  # after a failure, such as a full disk
ENDS_AT_ONCE = 64  # in one commit: some 25 ms of work, during which no other write is made


async def follow_outcomes(store: Store, clock: Clock, driver: Driver, wake: Callable[[], None]) -> None:
    """Apply every end of a task's unit, for ever. What cannot be applied now is read again from the stored position."""
    while True:
        try:
            await _follow(store, clock, driver, wake)
        except* Unavailable as errors:
            log.warning("the ends of %s units wait: %s", driver.name, errors.exceptions[0])
        except* Exception:  # else nothing would take in how tasks end until the next start of the server
            log.exception("following the ends of %s units failed; it goes on where it stood", driver.name)
        await asyncio.sleep(AGAIN_S)


async def _follow(store: Store, clock: Clock, driver: Driver, wake: Callable[[], None]) -> None:
    note = f"runner.exits.{driver.name}"
    position = int(await store.read(lambda tx: tx.note(note)) or 0)
    ends: asyncio.Queue[UnitExit] = asyncio.Queue(ENDS_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        group.create_task(_read(driver, position, ends))
        while True:
            together = [await ends.get()]
            while not ends.empty() and len(together) < ENDS_AT_ONCE:
                together.append(ends.get_nowait())
            await store.write(partial(_apply, together, note, clock.now()))
            wake()


async def _read(driver: Driver, position: int, ends: asyncio.Queue[UnitExit]) -> None:
    async for exit_ in driver.exits(position):
        if exit_.status.kind is UnitKind.TASK:
            await ends.put(exit_)


def _apply(ends: Sequence[UnitExit], note: str, now: datetime, tx: Transaction) -> None:
    for end in ends:
        outcome = end.status.outcome or Outcome(lost=True, reason="no outcome was recorded")
        finish_attempt(tx, end.status.id, outcome, now)
    tx.set_note(note, str(ends[-1].seq))


def finish_attempt(tx: Transaction, unit: UnitId, outcome: Outcome, now: datetime) -> None:
    """End the attempt of `unit`, and its task by the retry rule; settle the execution when it was the last. Does
    nothing for an attempt that has ended."""
    attempt = tx.executions.attempt(unit)
    if attempt is None or not attempt.state.open:
        return
    task = tx.executions.task(attempt.execution_id, attempt.index)
    execution = tx.executions.get(attempt.execution_id)
    if task is None or execution is None or task.lease is None:
        log.error("attempt %s has no running task; left alone", unit)
        return
    counted = task.attempts - _interrupted(tx, task)
    tx.executions.finish_task_if_running(_finish(attempt, task, counted, execution, outcome, now), now)
    if execution.pending + execution.running <= 1 or execution.status not in _GOES_ON:
        settle(tx, execution.id, now)


def _interrupted(tx: Transaction, task: Task) -> int:
    """How often Homeport was stopped while the task ran; a task of one attempt is the usual one, and is not asked."""
    earlier = tx.executions.attempts(task.execution_id, task.index) if task.attempts > 1 else []
    return sum(attempt.state is AttemptState.STOPPED for attempt in earlier)


def _finish(
    attempt: Attempt, task: Task, counted: int, execution: Execution, outcome: Outcome, now: datetime
) -> TaskFinish:
    rule = AttemptRule(max_retries=execution.max_retries, timeout_s=execution.timeout_s, memory_mb=execution.memory_mb)
    cancelling = execution.cancel_requested_at is not None
    verdict = after_attempt(outcome, counted, rule, now, jitter_of(attempt.unit), cancelling)
    return TaskFinish(
        unit=attempt.unit,
        lease=task.lease or "",
        outcome=outcome,
        attempt_state=verdict.attempt_state,
        task_status=verdict.task_status,
        not_before=verdict.not_before,
        message=verdict.message,
    )


def settle(tx: Transaction, execution_id: ExecutionId, now: datetime) -> None:
    """Give the execution the status that its counts say."""
    execution = tx.executions.get(execution_id)
    if execution is None or execution.status.terminal:
        return
    status = status_of(
        execution.status, counts_of(execution), cancel_requested=execution.cancel_requested_at is not None
    )
    if status is not execution.status:
        tx.executions.set_status(execution_id, status, now)


def counts_of(execution: Execution) -> Counts:
    return Counts(
        pending=execution.pending,
        running=execution.running,
        succeeded=execution.succeeded,
        failed=execution.failed,
        cancelled=execution.cancelled,
        timed_out=execution.timed_out,
        retried=execution.retried,
    )
