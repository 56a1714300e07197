"""The loop that removes what nothing refers to any more: bundles, sources, ended units, abandoned stagings.

It runs seldom and when a workload has gone. It keeps any file that is young, and asks for units before it asks for
their rows, which are written first: so it never races with what is being made.
"""

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from homeport.build.builder import Builder
from homeport.build.bundle import remove_bundle
from homeport.core.clock import Clock
from homeport.core.errors import Unavailable
from homeport.core.ids import WORKLOADS, ExecutionId, Kind, RevisionId, UnitId
from homeport.core.service import Background, Wakeup
from homeport.core.units import UnitKind, UnitStatus
from homeport.drivers.contract import Driver
from homeport.reconcile.images import end_push
from homeport.reconcile.retention import Retention, needed_digests
from homeport.reconcile.routes import SKEW_S
from homeport.settings import DataDir
from homeport.store.contract import Store, Transaction
from homeport.store.records import Event
from homeport.workloads.states import RevisionState, WorkloadStatus

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
YOUNG_S = 600  # a file younger than this may belong to something that is not in the store yet
STEP_S = 5.0  # between two passes the clocks part by milliseconds, unless one of them was set
UPLOAD_WAIT_S = 2 * 3600  # longer than an upload address lives
TASK_UNITS_KEPT = 2000  # ended attempts whose output is kept, newest first; some 100 MB of small logs
REPLICA_UNITS_KEPT = 5  # ended replicas of one workload whose output is kept
STOP_GRACE_S = 10.0


class Garbage:
    """The service."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        driver: Driver,
        builder: Builder,
        data: DataDir,
        wakeup: Wakeup,
        *,
        staging: Collection[ExecutionId],
        retention: Retention,
    ) -> None:
        """`staging` are the executions that are being accepted at the moment."""
        self._store = store
        self._clock = clock
        self._driver = driver
        self._builder = builder
        self._data = data
        self._wakeup = wakeup
        self._staging = staging
        self._retention = retention
        self._ages = _FileAges(clock)
        self._background = Background()

    async def start(self) -> None:
        if self._background.active:
            return
        self._background.spawn("garbage", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            try:
                await self.collect()
            except Unavailable as error:
                log.warning("collecting garbage waits: %s", error.message)
            except Exception:  # such as a file that cannot be removed; the rest is tried again with the next pass
                log.exception("collecting garbage failed; the next pass starts over")
            await self._wakeup.wait(INTERVAL_S)

    async def collect(self) -> None:
        """One pass."""
        now = self._clock.now()
        # Whatever this process stages from now on is written after this write: it must not look at the set later.
        staging = frozenset(self._staging)
        await self._store.write(lambda tx: tx.executions.discard_staged(staging))
        await self._store.write(lambda tx: _fail_abandoned_uploads(tx, now))
        # Not while the gateway refuses them, which it does for a while after their end.
        forgotten = now - timedelta(seconds=SKEW_S)
        await self._store.write(lambda tx: tx.identities.prune_keys(forgotten))
        await self._retention.drop_tags()
        await self._collect_units()
        await self._retention.clear_engines()
        digests, building = await self._store.read(_read_builds)
        for line in await self._builder.sweep(building):
            log.info("%s", line)
        await asyncio.to_thread(self._collect_files, digests)

    def _collect_files(self, digests: set[str]) -> None:
        if not self._ages.comparable():
            log.info("the clock was set: files are left alone for %s s", YOUNG_S)
            return
        for path in self._data.bundles.iterdir():
            if path.name not in digests and self._ages.old(path, YOUNG_S):
                remove_bundle(self._data.bundles, path.name)
        for path in self._data.sources.iterdir():
            if path.stem not in digests and self._ages.old(path, YOUNG_S):
                path.unlink(missing_ok=True)
        for path in self._data.uploads.iterdir():
            if self._ages.old(path, YOUNG_S + UPLOAD_WAIT_S):
                path.unlink(missing_ok=True)

    async def _collect_units(self) -> None:
        """Forget the output of what ended long ago, and stop what no row stands for."""
        units = await self._driver.units()
        rows = await self._store.read(_read_rows)
        ended: dict[str, list[UnitStatus]] = defaultdict(list)
        for unit in units:
            alive = unit.state.alive
            if alive and unit.kind is not UnitKind.BUILD and unit.id not in rows.units:
                await self._stop_stray(unit.id)
            elif not alive and unit.id not in rows.units:  # an attempt that is still open: its end is not yet read
                ended[_shelf(unit, rows.resources)].append(unit)
        for shelf, old in ended.items():
            old.sort(key=lambda unit: unit.ended_at.timestamp() if unit.ended_at else 0.0)
            keep = 0 if shelf == "" else TASK_UNITS_KEPT if shelf == "tasks" else REPLICA_UNITS_KEPT
            for unit in old[: max(0, len(old) - keep)]:
                await self._driver.forget(unit.id)

    async def _stop_stray(self, unit: UnitId) -> None:
        """Stop what no row stands for. Its row may have ended with it since the units were listed: that is no stray."""
        now = await self._driver.status(unit)
        if now is not None and now.state.alive:
            log.warning("unit %s belongs to no replica and to no attempt; stopping it", unit)
            await self._driver.stop(unit, STOP_GRACE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """`units` of replicas and of open attempts, and the uids of all workloads."""

    units: frozenset[UnitId]
    resources: frozenset[str]


def _read_rows(tx: Transaction) -> _Rows:
    replicas = {replica.unit for replica in tx.replicas.every()}
    attempts = {attempt.unit for attempt, _ in tx.executions.open_attempts()}
    uids = {uid for kind in (*WORKLOADS, Kind.IMAGE) for uid in tx.resources.uids(kind)}
    return _Rows(units=frozenset(replicas | attempts), resources=frozenset(uids))


def _shelf(unit: UnitStatus, resources: frozenset[str]) -> str:
    """Units of one shelf share a number to keep; the empty shelf keeps none: its workload is gone."""
    resource = unit.labels.get("resource", "")
    if resource not in resources:
        return ""
    return "tasks" if unit.kind is UnitKind.TASK else f"{unit.kind} {resource}"


def _read_builds(tx: Transaction) -> tuple[set[str], frozenset[RevisionId]]:
    """The digests of what is kept, and the revisions that are being built."""
    return needed_digests(tx), frozenset(one.id for one in tx.revisions.in_states([RevisionState.BUILDING]))


def _fail_abandoned_uploads(tx: Transaction, now: datetime) -> None:
    """The status of the workload follows with the next pass of the rollouts."""
    for revision in tx.revisions.in_states([RevisionState.UPLOADING]):
        if now - revision.created_at <= timedelta(seconds=UPLOAD_WAIT_S):
            continue
        message = "No archive came for this revision. Deploy again."
        failed = replace(revision, state=RevisionState.FAILED, message=message, updated_at=now)
        if tx.revisions.replace_if_state(failed, RevisionState.UPLOADING):
            tx.events.add(
                Event(
                    resource_uid=revision.resource_uid,
                    time=now,
                    type="build",
                    status=WorkloadStatus.FAILED,
                    message=message,
                    reason="UploadAbandoned",
                    revision=revision.id,
                )
            )
            end_push(tx, failed)


class _FileAges:
    """How old files are, by a wall clock that may be set: forward, and what is being made looks old; back, and what is
    old looks as if it were never to be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart_s = self._now_apart_s()
        self._set_at: float | None = None

    def comparable(self) -> bool:
        """False until a file that was made before the clock was set cannot be young any more."""
        now, apart_s = self._clock.monotonic(), self._now_apart_s()
        if abs(apart_s - self._apart_s) > STEP_S:
            self._apart_s, self._set_at = apart_s, now
        return self._set_at is None or now - self._set_at > YOUNG_S

    def old(self, path: Path, most_s: float) -> bool:
        """Whether `path` was written more than `most_s` ago. One from the future was written before the clock was set
        back: its age begins now."""
        try:
            now = self._clock.now().timestamp()
            age_s = now - path.stat().st_mtime
            if age_s < -STEP_S:
                os.utime(path, (now, now))
        except FileNotFoundError:
            return False
        return age_s > most_s

    def _now_apart_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
