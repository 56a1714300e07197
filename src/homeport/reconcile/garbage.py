"""The loop that removes what nothing refers to any more: bundles, sources, ended units, abandoned stagings. It runs
seldom and when a workload has gone, and keeps any file that is young, so that it never races with what is being made."""

import asyncio
import logging
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from homeport.build.builder import Builder
from homeport.build.bundle import remove_bundle
from homeport.core.clock import Clock
from homeport.core.errors import HomeportError
from homeport.core.ids import Kind
from homeport.core.service import Background, Wakeup
from homeport.core.units import UnitKind, UnitState, UnitStatus
from homeport.drivers.contract import Driver
from homeport.settings import DataDir
from homeport.store.contract import Store, Transaction
from homeport.store.records import Revision
from homeport.workloads.states import RevisionState

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
YOUNG_S = 600  # a file younger than this may belong to something that is not in the store yet
UPLOAD_WAIT_S = 2 * 3600  # longer than an upload address lives
STAGED_S = 15 * 60  # an execution still invisible after this was abandoned by a dead server
TASK_UNITS_KEPT = 2000  # ended attempts whose output is kept, newest first; some 100 MB of small logs
REPLICA_UNITS_KEPT = 5  # ended replicas of one agent whose output is kept
STOP_GRACE_S = 10.0


class Garbage:
    """The service."""

    def __init__(
        self, store: Store, clock: Clock, driver: Driver, builder: Builder, data: DataDir, wakeup: Wakeup
    ) -> None:
        self._store = store
        self._clock = clock
        self._driver = driver
        self._builder = builder
        self._data = data
        self._wakeup = wakeup
        self._started = clock.now()
        self._background = Background()

    async def start(self) -> None:
        self._background.spawn("garbage", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            try:
                await self.collect()
            except HomeportError as error:
                log.warning("collecting garbage failed: %s %s", error.message, error.detail)
            await self._wakeup.wait(INTERVAL_S)

    async def collect(self) -> None:
        """One pass."""
        now = self._clock.now()
        # What was staged before this process began was abandoned by another; of its own, only what is long overdue.
        abandoned = max(self._started, now - timedelta(seconds=STAGED_S))
        await self._store.write(lambda tx: tx.executions.discard_staged(abandoned))
        await self._store.write(lambda tx: _fail_abandoned_uploads(tx, now))
        revisions = await self._store.read(_every_revision)
        await self._collect_units(revisions)
        for line in await self._builder.sweep(frozenset(r.id for r in revisions if r.state is RevisionState.BUILDING)):
            log.info("%s", line)
        await asyncio.to_thread(self._collect_files, revisions, now)

    def _collect_files(self, revisions: list[Revision], now: datetime) -> None:
        bundles = {revision.bundle_digest for revision in revisions}
        sources = {revision.source_digest for revision in revisions}
        for path in self._data.bundles.iterdir():
            if path.name not in bundles and _old(path, now):
                remove_bundle(self._data.bundles, path.name)
        for path in self._data.sources.iterdir():
            if path.stem not in sources and _old(path, now):
                path.unlink()
        for path in self._data.uploads.iterdir():
            if _old(path, now - timedelta(seconds=UPLOAD_WAIT_S)):
                path.unlink()

    async def _collect_units(self, revisions: list[Revision]) -> None:
        """Forget the output of what ended long ago, and stop replicas that no row stands for."""
        resources = {revision.resource_uid for revision in revisions}
        replicas = await self._store.read(lambda tx: {replica.unit for replica in tx.replicas.every()})
        ended: dict[str, list[UnitStatus]] = defaultdict(list)
        for unit in await self._driver.units():
            alive = unit.state in (UnitState.STARTING, UnitState.RUNNING)
            if alive and unit.kind is UnitKind.REPLICA and unit.id not in replicas:
                log.warning("unit %s belongs to no replica; stopping it", unit.id)
                await self._driver.stop(unit.id, STOP_GRACE_S)
            elif not alive and unit.id not in replicas:
                ended[_shelf(unit, resources)].append(unit)
        for shelf, units in ended.items():
            units.sort(key=lambda unit: unit.ended_at.timestamp() if unit.ended_at else 0.0)
            keep = 0 if shelf == "" else TASK_UNITS_KEPT if shelf == "tasks" else REPLICA_UNITS_KEPT
            for unit in units[: max(0, len(units) - keep)]:
                await self._driver.forget(unit.id)


def _shelf(unit: UnitStatus, resources: set[str]) -> str:
    """Units of one shelf share a number to keep; the empty shelf keeps none: its workload is gone."""
    resource = unit.labels.get("resource", "")
    if resource not in resources:
        return ""
    return "tasks" if unit.kind is UnitKind.TASK else f"{unit.kind} {resource}"


def _every_revision(tx: Transaction) -> list[Revision]:
    return [
        revision
        for kind in (Kind.AGENT, Kind.JOB)
        for resource in tx.resources.every(kind)
        for revision in tx.revisions.of(resource.uid)
    ]


def _fail_abandoned_uploads(tx: Transaction, now: datetime) -> None:
    for revision in tx.revisions.in_states([RevisionState.UPLOADING]):
        if now - revision.created_at > timedelta(seconds=UPLOAD_WAIT_S):
            message = "No archive came for this revision. Deploy again."
            failed = replace(revision, state=RevisionState.FAILED, message=message, updated_at=now)
            tx.revisions.replace_if_state(failed, RevisionState.UPLOADING)


def _old(path: Path, now: datetime) -> bool:
    try:
        return now.timestamp() - path.stat().st_mtime > YOUNG_S
    except FileNotFoundError:
        return False
