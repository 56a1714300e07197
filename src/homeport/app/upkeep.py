"""The upkeep of asynchronous calls: schedules fire, what waits in vain ends, what is old goes. A service of the
server."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from homeport.app.call_ends import callback_of, tell, wants_callback
from homeport.app.context import Context
from homeport.app.invocations import cancelled
from homeport.app.schedules import find_schedules, fire_schedules
from homeport.core.errors import Unavailable
from homeport.core.service import Background
from homeport.invocations.states import InvocationStatus
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Invocation

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 2.0  # at the longest: so long waits a call whose agent is gone
SWEEP_INTERVAL_S = 10.0
IN_ONE = 200  # calls of one commit, so that no other waits for it

GONE = "its agent was deleted"
DISABLED = "its agent is disabled"


class Upkeep:
    """The service."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._background = Background()
        self._swept_at = 0.0

    async def start(self) -> None:
        if self._background.active:
            return
        await find_schedules(self._context)
        self._background.spawn("upkeep of calls", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        signal = self._context.signals.schedules
        while True:
            wait_s = PASS_INTERVAL_S
            try:
                wait_s = await self.pass_once()
            except Unavailable as error:
                log.warning("the upkeep of asynchronous calls waits: %s", error.message)
            except Exception:
                log.exception("a pass over asynchronous calls failed; the next one starts over")
            await signal.wait(wait_s)

    async def pass_once(self) -> float:
        """One pass; the seconds until the next one."""
        next_at = await fire_schedules(self._context)
        await end_in_vain(self._context)
        if self._context.clock.monotonic() - self._swept_at >= SWEEP_INTERVAL_S:
            await sweep(self._context)
            self._swept_at = self._context.clock.monotonic()
        if next_at is None:
            return PASS_INTERVAL_S
        wait_s = (next_at - self._context.clock.now()).total_seconds()
        return min(max(wait_s, 0.05), PASS_INTERVAL_S)


async def end_in_vain(context: Context) -> None:
    """End calls whose agent is gone, and those that have waited too long for one that is disabled."""
    now = context.clock.now()
    latest = now - timedelta(hours=context.configuration.invocations.wait_hours)
    while await context.store.read(lambda tx: bool(_in_vain(tx, latest, now))):
        await context.store.write(lambda tx: _end(tx, _in_vain(tx, latest, now), now))


def _in_vain(tx: Transaction, latest: datetime, now: datetime) -> list[tuple[Invocation, str]]:
    for waiting in tx.invocations.queues(now, 1):
        agent = tx.resources.by_uid(waiting.agent_uid)
        if agent is None:
            return [(call, GONE) for call in tx.invocations.queued(waiting.agent_uid, IN_ONE)]
        if agent.spec.get("enabled") is False:
            found = tx.invocations.queued(waiting.agent_uid, IN_ONE)
            if old := [(call, DISABLED) for call in found if call.created_at <= latest]:
                return old
    return []


def _end(tx: Transaction, calls: list[tuple[Invocation, str]], now: datetime) -> None:
    gone = [cancelled(call, why, now) for call, why in calls if why == GONE]
    failed = [
        replace(call, status=InvocationStatus.FAILED, message=why, completed_at=now, updated_at=now)
        for call, why in calls
        if why == DISABLED
    ]
    tx.invocations.change([*gone, *failed])
    tx.invocations.add_callbacks([callback_of(call, now) for call in failed if wants_callback(call)])
    for call in failed[:1]:
        text = f"Asynchronous call {call.id} was given up (and {len(failed) - 1} more): {DISABLED}"
        tell(tx, call.agent_uid, "InvocationGivenUp", text, now)


async def sweep(context: Context) -> None:
    """Remove calls that are kept no longer, a portion in each commit."""
    settings = context.configuration.invocations
    before = context.clock.now() - timedelta(days=settings.keep_days)
    while numbers := await context.store.read(lambda tx: tx.invocations.sweepable(before, settings.keep_calls, IN_ONE)):
        await context.store.write(lambda tx, some=numbers: tx.invocations.remove(some))  # type: ignore[misc]
