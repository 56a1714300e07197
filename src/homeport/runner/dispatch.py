"""Choose which tasks start now, claim them, start their attempts. One pass reads the store and acts; a signal or a
timer wakes it, and the first pass after a start is the same code as any other."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from homeport.core.clock import Clock
from homeport.core.errors import DriverUnavailable, HomeportError, Unavailable
from homeport.core.ids import ExecutionId, UnitId, new_id
from homeport.core.service import Background, Wakeup
from homeport.core.units import Outcome, UnitState, UnitStatus
from homeport.drivers.contract import Driver
from homeport.jobs.execution import shares
from homeport.jobs.states import AttemptState
from homeport.runner.launch import CancelledFirst, TaskLauncher
from homeport.runner.outcomes import finish_attempt, follow_outcomes, settle
from homeport.store.contract import Store, Transaction, attempt_unit
from homeport.store.records import Attempt, Execution, Task

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 1.0  # when nothing wakes it: how late a retry that has become due may start
STARTS_A_PASS = 64  # claims a pass: a lease is taken only for what starts within a moment
STARTS_AT_ONCE = 8  # a slow start holds up no other; more would only queue in the driver
LEASE_MARGIN_S = 300  # beyond the task's own time: start, grace and journal
CHECK_INTERVAL_S = 30.0  # between looks at attempts that run: their ends are told, this is the net below


class Runner:
    """The service that carries executions to their end. `slots` bounds the attempts that run at once; asked before each
    start where it changes, and nothing starts while there are none."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        drivers: Sequence[Driver],
        launcher: TaskLauncher,
        *,
        slots: int | Callable[[], int],
        wakeup: Wakeup,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._launcher = launcher
        self._room = slots if callable(slots) else lambda: slots
        self._wakeup = wakeup
        self._background = Background()
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._checked_at: float | None = None
        self._stopping: dict[UnitId, int] = {}  # units that were asked to end, with the grace
        self._unreached: dict[UnitId, ExecutionId] = {}  # attempts that wait for a driver that is away

    async def start(self) -> None:
        if self._background.active:
            return
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
            except Exception:  # a bug in one pass must not end every execution of the installation
                log.exception("a dispatch pass failed; the next one starts over")
            await self._wakeup.wait(PASS_INTERVAL_S)

    async def _resume(self) -> None:
        """Take up attempts that are open in the store and on which nobody works.

        Those of which the start was interrupted are looked at on every pass; ordinarily there are none, since a pass
        starts what it claims. Those that run are looked at after a start of the server, and seldom after that: how
        they end comes through `outcomes`.
        """
        self._unreached.clear()
        now = self._clock.monotonic()
        everything = self._checked_at is None or now - self._checked_at >= CHECK_INTERVAL_S
        unstarted = []
        attempts = await self._store.read(lambda tx: tx.executions.open_attempts())
        for attempt, lease in attempts:
            if everything or attempt.state is AttemptState.STARTING:
                status, known = await self._status(attempt)
                if status is None and attempt.state is AttemptState.STARTING:
                    unstarted.append(attempt)  # where its own driver is away, that refuses
                elif known:
                    await self._catch_up(attempt, lease, status)
        if everything:
            self._checked_at = now
        # Read again after the driver was asked: one that has ended and was forgotten meanwhile must not run again.
        tasks = await self._store.read(partial(_still_unstarted, unstarted)) if unstarted else []
        begun = len(attempts) - len(unstarted)
        await self._start_all(tasks[: max(0, self._room() - begun)])  # while they waited, others had their room

    async def _catch_up(self, attempt: Attempt, lease: str, status: UnitStatus | None) -> None:
        """Record what happened to an attempt's unit while nobody looked."""
        if status is None:
            await self._finish(attempt.unit, Outcome(lost=True, reason="its process is gone without a trace"))
        elif status.outcome is not None:
            await self._finish(attempt.unit, status.outcome)
        elif attempt.state is AttemptState.STARTING and status.state is UnitState.RUNNING:
            now = self._clock.now()
            await self._store.write(lambda tx: tx.executions.start_attempt(attempt.unit, lease, now))

    def _leave(self, unit: UnitId, execution: ExecutionId, error: DriverUnavailable) -> None:
        """The driver that shall have it is away. Until the next pass its room is for what others run; where there is no
        other, everything waits: raises."""
        if len(self._drivers) == 1:
            raise error
        log.info("task %s waits: %s", unit, error.message)
        self._unreached[unit] = execution

    async def _status(self, attempt: Attempt) -> tuple[UnitStatus | None, bool]:
        """What a driver says of it, and whether that is known: not where none has it and one is away. Raises
        `DriverUnavailable` where there is no other."""
        known = True
        for driver in self._drivers:
            try:
                if (status := await driver.status(attempt.unit)) is not None:
                    return status, True
            except DriverUnavailable:
                if len(self._drivers) == 1:
                    raise
                known = False
        return None, known

    async def _dispatch(self) -> None:
        executions = await self._store.read(lambda tx: tx.executions.unfinished())
        await self._stop_what_shall(executions)
        free = self._room() - sum(execution.running for execution in executions) + len(self._unreached)
        room = 0 if self._wakeup.paused else min(max(0, free), STARTS_A_PASS)
        reached = [one for one in executions if one.id not in self._unreached.values()]
        claimed = await self._claim_shares(reached, room)
        await self._start_all(claimed)
        now = self._clock.now()
        for execution in executions:
            if not execution.pending and not execution.running:
                await self._store.write(partial(_settle, execution, now))
        if len(claimed) == STARTS_A_PASS:
            self._wakeup.wake()  # there may be room for more

    async def _stop_what_shall(self, executions: Iterable[Execution]) -> None:
        """Ask what runs of an execution that is to be stopped to end. Asked once for each unit, and again for a shorter
        grace or by the next server: the first reason stands in the driver, and the shortest grace counts."""
        graces = {one.id: one.stop_grace_s for one in executions if one.stop_grace_s is not None and one.running}
        if not graces:
            self._stopping.clear()
            return
        for attempt, _ in await self._store.read(lambda tx: tx.executions.open_attempts()):
            grace_s = graces.get(attempt.execution_id)
            if grace_s is None or self._stopping.get(attempt.unit, grace_s + 1) <= grace_s:
                continue
            asked = [await self._ask_to_end(driver, attempt, grace_s) for driver in self._drivers]
            # Else its unit may come to be after it was asked to end, or is on a driver that is away.
            if attempt.state is AttemptState.RUNNING and all(asked):
                self._stopping[attempt.unit] = grace_s

    async def _ask_to_end(self, driver: Driver, attempt: Attempt, grace_s: float) -> bool:
        try:
            await driver.stop(attempt.unit, grace_s)
        except DriverUnavailable as error:
            log.info("attempt %s is asked to end later: %s", attempt.unit, error.message)
            return False
        return True

    async def _claim_shares(self, executions: Iterable[Execution], room: int) -> list[Task]:
        """Claim up to `room` tasks, shared among the executions. One that gives less than its share only waits for
        retries; what it leaves goes to the others in the same pass."""
        waiting = {execution.id: execution for execution in executions if execution.cancel_requested_at is None}
        claimed: list[Task] = []
        while granted := shares(list(waiting.values()), room - len(claimed)):
            for execution_id, count in granted:
                execution = waiting[execution_id]
                tasks = await self._claim(execution, count)
                claimed += tasks
                running, pending = execution.running + len(tasks), execution.pending - len(tasks)
                waiting[execution_id] = replace(execution, running=running, pending=pending)
                if len(tasks) < count:
                    del waiting[execution_id]
        return claimed

    async def _claim(self, execution: Execution, count: int) -> list[Task]:
        now = self._clock.now()
        until = now + timedelta(seconds=execution.timeout_s + LEASE_MARGIN_S)

        def write(tx: Transaction) -> list[Task]:
            tasks = tx.executions.claim(execution.id, count, now, new_id("lease", 16), until)
            settle(tx, execution.id, now)
            return tasks

        return await self._store.write(write)

    async def _start_all(self, tasks: Iterable[Task]) -> None:
        """Start the claimed attempt of each task. What raised is raised once all have been tried."""
        for result in await asyncio.gather(*(self._start(task) for task in tasks), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _start(self, task: Task) -> None:
        """Start the unit of an attempt whose row is durable. A driver that is away leaves it for the next pass."""
        unit = attempt_unit(task.execution_id, task.index, task.attempts)
        async with self._starting:
            try:
                driver, spec = await self._launcher.attempt(task, task.attempts)
                if not self._room():  # there is none any more; the next pass looks again
                    return
                status = await driver.start(spec)
            except DriverUnavailable as error:
                self._leave(unit, task.execution_id, error)
                return
            except Unavailable:
                raise
            except CancelledFirst:
                await self._finish(unit, Outcome(stopped=True, reason="its execution was cancelled before it started"))
                return
            except Exception as error:  # whatever it is, it would be the same again: it counts as an attempt
                reason = error.message if isinstance(error, HomeportError) else "An internal error occurred."
                log.warning("task %s cannot start", unit, exc_info=error)
                await self._finish(unit, Outcome(reason=f"could not start: {reason}"))
                return
        if status.state is not UnitState.STARTING:  # else the driver is still at it, and the next pass looks again
            now = self._clock.now()
            await self._store.write(lambda tx: tx.executions.start_attempt(unit, task.lease or "", now))

    async def _finish(self, unit: UnitId, outcome: Outcome) -> None:
        now = self._clock.now()
        await self._store.write(lambda tx: finish_attempt(tx, unit, outcome, now))


def _still_unstarted(attempts: Iterable[Attempt], tx: Transaction) -> list[Task]:
    """The tasks of those attempts that are still to be started."""
    tasks = []
    for attempt in attempts:
        present = tx.executions.attempt(attempt.unit)
        task = tx.executions.task(attempt.execution_id, attempt.index)
        if present is not None and present.state is AttemptState.STARTING and task is not None:
            tasks.append(task)
    return tasks


def _settle(execution: Execution, now: datetime, tx: Transaction) -> None:
    settle(tx, execution.id, now)
