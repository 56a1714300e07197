"""The loop that removes jobs whose time is over (`runtime.expires`, `runtime.ttl`), as a caller would: running
executions are cancelled, their history stays. A new deployment wakes it; else it sleeps until the next job is due."""

import logging
from datetime import datetime
from functools import partial

from homeport.core.clock import Clock, timestamp
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.ids import Kind
from homeport.core.service import Background, Signals
from homeport.jobs.expiry import EXPIRY_SETTINGS, read_expiry
from homeport.reconcile.deletion import begin_deletion
from homeport.store.contract import Store, Transaction
from homeport.store.records import Resource

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 60.0  # at the longest: so late is an expiry after a jump of the machine's clock
PASS_INTERVAL_MIN_S = 0.1  # a job that cannot be removed keeps nobody busy


class Expiries:
    """The service."""

    def __init__(self, store: Store, clock: Clock, signals: Signals) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._background = Background()

    async def start(self) -> None:
        if self._background.active:
            return
        self._background.spawn("expiries", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            next_in_s = PASS_INTERVAL_S
            try:
                next_in_s = await self.expire()
            except Unavailable as error:
                log.warning("expiries wait: %s", error.message)
            except Exception:  # a bug in one pass must not keep every later job for ever
                log.exception("a pass over the expiries failed; the next one starts over")
            await self._signals.expiries.wait(next_in_s)

    async def expire(self) -> float:
        """One pass; the seconds until the next one."""
        due = await self._store.read(_due_times)
        now = self._clock.now()
        expired = [uid for uid, moment in due.items() if moment <= now]
        for uid in expired:
            await self._store.write(partial(_expire, uid, now))
        for uid in expired:
            self._signals.rollouts.wake(uid)
        if expired:
            self._signals.runner.wake()
        next_at = min((moment for moment in due.values() if moment > now), default=None)
        wait_s = PASS_INTERVAL_S if next_at is None else (next_at - now).total_seconds()
        return min(max(wait_s, PASS_INTERVAL_MIN_S), PASS_INTERVAL_S)


def _due_times(tx: Transaction) -> dict[str, datetime]:
    """When each job that goes by itself goes, by uid."""
    jobs = tx.resources.with_setting(Kind.JOB, EXPIRY_SETTINGS)
    found = {job.uid: _due_at(job) for job in jobs if not job.deleting}
    return {uid: moment for uid, moment in found.items() if moment is not None}


def _due_at(job: Resource) -> datetime | None:
    try:
        return read_expiry(job.spec).due_at(job.updated_at)
    except HomeportError as error:  # stored before the field had a meaning: one such job must not keep the others
        log.warning("job %s/%s does not expire: %s", job.workspace, job.name, error.message)
        return None


def _expire(uid: str, now: datetime, tx: Transaction) -> None:
    job = tx.resources.by_uid(uid)
    moment = None if job is None or job.deleting else _due_at(job)
    if job is None or moment is None or moment > now:  # deployed again meanwhile
        return
    message = f"Deleted: its time (runtime.expires or runtime.ttl) was over at {timestamp(moment)}"
    log.info("job %s/%s: %s", job.workspace, job.name, message)
    begin_deletion(tx, job, now, by="homeport", message=message, reason="Expired")
