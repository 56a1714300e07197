"""Choose which tasks start now, claim them, start their attempts. One pass reads the store and acts; a signal or a
timer wakes it, and the first pass after a start is the same code as any other."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from homeport.core.clock import Clock
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.ids import new_id
from homeport.core.service import Background, Wakeup
from homeport.core.units import Outcome, UnitStatus
from homeport.drivers.contract import Driver
from homeport.jobs.execution import shares
from homeport.jobs.states import AttemptState
from homeport.runner.launch import TaskLauncher
from homeport.runner.outcomes import finish_attempt, follow_outcomes, settle
from homeport.store.contract import Store, Transaction, attempt_unit
from homeport.store.records import Attempt, Execution, Task

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 1.0  # when nothing wakes it: how late a retry that has become due may start
STARTS_A_PASS = 64  # claims a pass: a lease is taken only for what starts within a moment
LEASE_MARGIN_S = 300  # beyond the task's own time: start, grace and journal


class Runner:
    """The service that carries executions to their end. `slots` bounds the attempts that run at once."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        drivers: Sequence[Driver],
        launcher: TaskLauncher,
        *,
        slots: int,
        wakeup: Wakeup,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._launcher = launcher
        self._slots = slots
        self._wakeup = wakeup
        self._background = Background()

    async def start(self) -> None:
        for driver in self._drivers:
            follow = follow_outcomes(self._store, self._clock, driver, self._wakeup.wake)
            self._background.spawn(f"runner.outcomes.{driver.name}", follow)
        self._background.spawn("runner.dispatch", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            try:
                await self._resume()
                await self._dispatch()
            except Unavailable as error:
                log.warning("dispatch waits: %s", error.message)
            except HomeportError:
                log.exception("a dispatch pass failed; the next one starts over")
            await self._wakeup.wait(PASS_INTERVAL_S)

    async def _resume(self) -> None:
        """Take up attempts that are open in the store but were never seen to run: the step between the two was
        interrupted."""
        for attempt, lease in await self._store.read(lambda tx: tx.executions.open_attempts()):
            status = await self._status(attempt)
            if status is None and attempt.state is AttemptState.STARTING:
                task = await self._store.read(partial(_task_of, attempt))
                if task is not None:
                    await self._start(task, attempt.number)
            elif status is None:
                await self._finish(attempt, Outcome(lost=True, reason="its process is gone without a trace"))
            elif status.outcome is not None:
                await self._finish(attempt, status.outcome)
            elif attempt.state is AttemptState.STARTING:
                now = self._clock.now()
                await self._store.write(partial(_mark_running, attempt, lease, now))

    async def _status(self, attempt: Attempt) -> UnitStatus | None:
        for driver in self._drivers:
            if (status := await driver.status(attempt.unit)) is not None:
                return status
        return None

    async def _dispatch(self) -> None:
        executions = await self._store.read(lambda tx: tx.executions.unfinished())
        free = self._slots - sum(execution.running for execution in executions)
        startable = min(max(0, free), STARTS_A_PASS)
        by_id = {execution.id: execution for execution in executions if execution.cancel_requested_at is None}
        for execution_id, count in shares(list(by_id.values()), startable):
            for task in await self._claim(by_id[execution_id], count):
                await self._start(task, task.attempts)
        now = self._clock.now()
        for execution in executions:
            if not execution.pending and not execution.running:
                await self._store.write(partial(_settle, execution, now))

    async def _claim(self, execution: Execution, count: int) -> list[Task]:
        now = self._clock.now()
        until = now + timedelta(seconds=execution.timeout_s + LEASE_MARGIN_S)

        def write(tx: Transaction) -> list[Task]:
            tasks = tx.executions.claim(execution.id, count, now, new_id("lease", 16), until)
            settle(tx, execution.id, now)
            return tasks

        return await self._store.write(write)

    async def _start(self, task: Task, number: int) -> None:
        """Start the unit of an attempt whose row is durable. A driver that is away leaves it for the next pass."""
        unit = attempt_unit(task.execution_id, task.index, number)
        try:
            driver, spec = await self._launcher.attempt(task, number)
            await driver.start(spec)
        except Unavailable:
            raise
        except HomeportError as error:
            log.warning("task %s cannot start: %s %s", unit, error.message, error.detail)
            outcome = Outcome(reason=f"could not start: {error.message}")
            await self._store.write(lambda tx: finish_attempt(tx, unit, outcome, self._clock.now()))
            return
        now = self._clock.now()
        await self._store.write(lambda tx: tx.executions.start_attempt(unit, task.lease or "", now))

    async def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        await self._store.write(lambda tx: finish_attempt(tx, attempt.unit, outcome, self._clock.now()))


def _task_of(attempt: Attempt, tx: Transaction) -> Task | None:
    return tx.executions.task(attempt.execution_id, attempt.index)


def _mark_running(attempt: Attempt, lease: str, now: datetime, tx: Transaction) -> bool:
    return tx.executions.start_attempt(attempt.unit, lease, now)


def _settle(execution: Execution, now: datetime, tx: Transaction) -> None:
    settle(tx, execution.id, now)
