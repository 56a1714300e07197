"""The loop that rolls out: agents and functions get the replicas and the routes that they should have, jobs the
revision that they run. What to do is decided by `homeport.workloads.rollout`; this looks, asks, acts and publishes.

Whoever changes something names the workload, and it is worked on at once, by itself, so that a slow one delays no
other. A pass each second finds those that the store says are on their way somewhere, and a slow sweep looks at all.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from homeport.core.clock import Clock
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.ids import Kind, ReplicaId, UnitId
from homeport.core.service import Background, Signals, Wakeup
from homeport.core.units import UnitKind, UnitStatus
from homeport.dataplane.xds import XdsServer
from homeport.drivers.contract import Driver
from homeport.reconcile.attention import Attention
from homeport.reconcile.drains import Drains
from homeport.reconcile.job_revisions import roll_out_job, unsettled_jobs
from homeport.reconcile.observation import (
    Ages,
    Manifests,
    Ports,
    Workload,
    listening_ports,
    read_each,
    read_moving,
    read_workload,
    read_workloads,
    unsettled_serving,
    view_replicas,
    view_resource,
    view_revision,
    with_status,
    without_unit,
)
from homeport.reconcile.replicas import Performer
from homeport.reconcile.routes import Routes
from homeport.reconcile.silence import Silence
from homeport.store.contract import Store, Transaction
from homeport.store.records import Replica, Resource
from homeport.workloads.actions import Action, MarkReady, Serve
from homeport.workloads.rollout import status_of, step
from homeport.workloads.states import ReplicaState, WorkloadStatus

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 1.0  # over what moves, when nothing wakes it
SWEEP_INTERVAL_S = 15.0  # over everything: how late is found what nobody told
SWEPT_AT_ONCE = 50  # workloads: what is woken meanwhile waits for no more than these
# While a program starts: how much later than it listens it gets its first request. For each workload that is worked on,
# so that many together are looked at as often as one.
STARTING_INTERVAL_S = 0.005
STARTING_INTERVAL_MAX_S = 0.5  # one that takes long is asked less often
ACTING_STEPS = 20  # in a row for one workload: a rollout has five; more would be a circle
WORKLOADS_AT_ONCE = 64  # worked on without anybody having named them; more of them wait for their turn
ACK_TIMEOUT_S = 10.0  # for Envoy to take new routes; it takes milliseconds

# What the status tells: it does so once the gateway knows it too.
_TOLD = (Serve, MarkReady)


class Rollouts:
    """The service, for one driver."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        driver: Driver,
        performer: Performer,
        routes: Routes,
        xds: XdsServer,
        signals: Signals,
        bundles: Path,
        *,
        silent: Callable[[], frozenset[str]] = frozenset,
        ack_timeout_s: float = ACK_TIMEOUT_S,
    ) -> None:
        """silent: the regions of whose units `driver` said nothing when it was asked for all; their workloads wait."""
        self._store = store
        self._clock = clock
        self._driver = driver
        self._performer = performer
        self._routes = routes
        self._xds = xds
        self._signals = signals
        self._silent = silent
        self._silence = Silence(store, clock)
        self._ack_timeout_s = ack_timeout_s
        self._background = Background()
        self._attention = Attention(self._work, WORKLOADS_AT_ONCE)
        self._manifests = Manifests(bundles)
        self._ages = Ages(clock)
        self._drains = Drains(routes, xds, signals.rollouts.wake)
        self._sweeps = Wakeup()
        self._looked_at = 0.0  # when the last pass was over what moves
        self._again: set[str] = set()  # workloads at which work failed
        self._restored = False
        self._unrestored: set[str] = set()  # workloads in regions that have been silent since the start

    async def start(self) -> None:
        if self._background.active:
            return
        self._background.spawn("rollouts", self._loop())
        self._background.spawn("rollouts.sweeps", self._sweep_always())
        self._background.spawn("rollouts.exits", self._wake_at_exits())

    async def stop(self) -> None:
        await self._background.stop()
        await self._attention.stop()
        await self._drains.stop()

    async def _wake_at_exits(self) -> None:
        """The end of a replica is seen at once. The state is read from the units, so no position is kept, and a sweep
        sees it a while later if this fails."""
        async for exit_ in self._driver.exits(0):
            if exit_.status.kind is UnitKind.REPLICA:
                self._signals.rollouts.wake(exit_.status.labels.get("resource"))

    async def _loop(self) -> None:
        woken: frozenset[str] | None = None
        while True:
            try:
                await self._pass(woken)
            except Unavailable as error:
                log.warning("rollouts wait: %s", error.message)
            except Exception:  # a bug in one pass must not end every later rollout
                log.exception("a pass over the rollouts failed; the next one starts over")
            woken = await self._signals.rollouts.wait(PASS_INTERVAL_S)

    async def _pass(self, woken: frozenset[str] | None) -> None:
        """Work at those that are named; now and then, and where none is, at all that moves."""
        if not self._restored:
            await self._restore()
            woken = None
        for uid in woken or ():
            if self._attention.has(uid):  # and may be for long: the gateway need not wait for that
                self._background.spawn(f"rollout.routes.{uid}", self._publish(uid))
            self._attend(uid, urgent=True)
        now = self._clock.monotonic()
        if woken and now - self._looked_at < PASS_INTERVAL_S:
            return
        self._looked_at = now
        await self._routes.publish_keys()
        for uid in await self._store.read(unsettled_jobs):
            await self._roll_out_job(uid)
        if woken is None or self._silent() or self._unrestored:
            self._sweeps.wake()
        await self._look_at_moving()

    async def _publish(self, uid: str) -> None:
        try:
            await self._routes.publish_one(uid)
        except Unavailable as error:
            log.warning("the routes of %s wait: %s", uid, error.message)
            self._again.add(uid)

    def _attend(self, uid: str, *, urgent: bool = False) -> None:
        """Of one whose region is silent since the start only the gateway is told, as of any other."""
        if uid in self._unrestored:
            self._background.spawn(f"rollout.routes.{uid}", self._publish(uid))
        elif not self._signals.rollouts.paused:
            self._attention.attend(uid, urgent=urgent)

    async def _roll_out_job(self, uid: str) -> None:
        if await self._store.write(partial(roll_out_job, uid, self._clock.now())):
            self._tell_gone()

    def _tell_gone(self) -> None:
        self._signals.garbage.wake()
        self._signals.builds.wake()  # one that it had under way is to end

    async def _look_at_moving(self) -> None:
        if self._signals.rollouts.paused:
            return
        workloads = await self._store.read(read_moving)
        await self._look_at(workloads, await self._units())
        again, self._again = self._again, set()
        for uid in again:
            self._attend(uid)

    async def _look_at(self, workloads: Iterable[Workload], units: Mapping[UnitId, UnitStatus]) -> None:
        """Work at those of these at which something is to be done."""
        await self._silence.tell(self._silent(), workloads)
        heard_of = {one.resource.uid for one in self._heard_of(workloads)}
        for workload in workloads:
            uid = workload.resource.uid
            settled = self._routes.tells(workload) if uid not in heard_of else not self._unsettled(workload, units)
            if not settled and not self._attention.has(uid):
                self._attend(uid)

    async def _sweep_always(self) -> None:
        while True:
            await self._sweeps.wait(SWEEP_INTERVAL_S)
            try:
                if self._restored and not self._signals.rollouts.paused:
                    await self._sweep()
            except Unavailable as error:
                log.warning("a sweep over the rollouts waits: %s", error.message)
            except Exception:  # as in the other loop
                log.exception("a sweep over the rollouts failed; the next one starts over")

    async def _sweep(self) -> None:
        """Look at every workload, a few at a time: whatever was missed, be it a program's end or a signal, is found
        here."""
        found = await self._store.read(unsettled_serving)
        units = await self._units()
        digests: set[str | None] = set()
        present: set[ReplicaId] = set()
        for first in range(0, len(found), SWEPT_AT_ONCE):
            workloads = await self._store.read(partial(read_each, found[first : first + SWEPT_AT_ONCE]))
            digests |= {revision.bundle_digest for one in workloads for revision in one.revisions}
            present |= {replica.id for one in workloads for replica in one.replicas}
            await self._restore_unrestored(workloads)
            await self._look_at(workloads, units)
        for uid in self._routes.uids() - {one.uid for one in found}:
            self._attend(uid)
        self._manifests.keep(digests)
        self._drains.keep(present)
        self._ages.keep(present)

    async def _restore(self) -> None:
        """After a start: write down which replicas are to be brought back, whose units nobody knows any more, then
        publish. Envoy keeps what it had until then, so that a restart of the server is not seen outside. They are
        started as any other, those first for which somebody waits."""
        workloads = await self._store.read(read_workloads)
        units = await self._units()
        heard_of = self._heard_of(workloads)
        await self._restore_all(heard_of, units)
        known = {workload.resource.uid for workload in heard_of}
        self._unrestored = {workload.resource.uid for workload in workloads} - known
        await self._routes.publish()
        self._restored = True

    async def _restore_unrestored(self, workloads: Iterable[Workload]) -> None:
        """Those of these that are heard of for the first time since the start."""
        mine = [one for one in self._heard_of(workloads) if one.resource.uid in self._unrestored]
        if mine:
            await self._restore_all(mine, await self._units())  # asked after the store was read
            self._unrestored -= {one.resource.uid for one in mine}

    async def _restore_all(self, workloads: Iterable[Workload], units: Mapping[UnitId, UnitStatus]) -> None:
        lost = [one for workload in workloads for one in without_unit(workload, units)]
        await _together(self._performer.restore(replica) for replica in lost)

    def _heard_of(self, workloads: Iterable[Workload]) -> list[Workload]:
        """Those of which no part is in a region that is silent now."""
        silent = self._silent()
        return [one for one in workloads if silent.isdisjoint(revision.region for revision in one.revisions)]

    def _unsettled(self, workload: Workload, units: Mapping[UnitId, UnitStatus]) -> bool:
        """Whether there is something to do, as far as the units tell; `_work` looks closer."""
        if any(one.state is ReplicaState.STARTING for one in workload.replicas):
            return True
        try:
            status, actions = self._decide(workload, units, {})
        except HomeportError:
            return True  # the work at it meets the same error, and says so
        seen = with_status(workload.resource, status)
        watched = not self._drains.unwatched(workload.replicas)
        return bool(actions) or seen != workload.resource or not watched or not self._routes.tells(workload)

    async def _work(self, uid: str) -> None:
        """Bring one workload to where nothing is to be done at it for now. The gateway is told first: it may be all
        that there is to do."""
        told = uid
        try:
            before, version = self._routes.version, await self._routes.publish_one(uid)
            workload = await self._store.read(partial(_read, uid))
            if workload is None:
                self._tell_gone()
                return
            told = _told(workload.resource)
            if workload.resource.kind is Kind.JOB:
                await self._roll_out_job(uid)
            elif workload.resource.kind.serves and self._heard_of([workload]):  # of an image, its build has told all
                await self._roll_out_workload(workload, version if version != before else None)
        except Unavailable as error:
            log.warning("the rollout of %s waits: %s", told, error.message)
            self._again.add(uid)
        except Exception:  # one workload that cannot go on must not keep the others from it
            log.exception("the rollout of %s failed; it starts over", told)
            self._again.add(uid)

    async def _roll_out_workload(self, workload: Workload, version: int | None) -> None:
        """`version`: what the gateway was just told of it and may not have taken yet."""
        uid, acted = workload.resource.uid, 0
        while acted < ACTING_STEPS and not self._signals.rollouts.paused:
            actions = await self._next_actions(workload, version)
            if actions:
                acted += 1
                await self._act(workload, actions)
            elif (pause_s := self._starting_pause_s(workload.replicas)) is not None:
                acted = 0
                await asyncio.sleep(pause_s)
            else:
                return
            version = None
            found = await self._store.read(partial(_read, uid))
            if found is None:
                await self._routes.publish_one(uid)
                self._tell_gone()
                return
            workload = found
            if not self._routes.tells(workload):  # an order came that changes how requests are routed
                version = await self._routes.publish_one(uid)
        if acted == ACTING_STEPS:
            log.error("workload %s does not settle after %d steps", uid, ACTING_STEPS)

    async def _next_actions(self, workload: Workload, version: int | None) -> tuple[Action, ...]:
        """What to do now. Starts of units that were interrupted are completed first."""
        units = await self._units_of(workload.replicas)
        for replica in without_unit(workload, units):
            # With a unit it has started, with a message it could not: the step sees to both.
            if replica.state is ReplicaState.STARTING and replica.unit not in units and not replica.message:
                await self._performer.start_again(workload, replica)
                units |= await self._units_of([replica])
        self._drains.watch(workload.replicas)
        status, actions = self._decide(workload, units, await listening_ports(self._driver, workload.replicas))
        seen = with_status(workload.resource, status)
        if seen != workload.resource:
            if version is not None and not actions:
                await self._taken(version, workload.resource)
            await self._store.write(lambda tx: tx.resources.replace(seen, seen.generation))
        return actions

    def _decide(
        self, workload: Workload, units: Mapping[UnitId, UnitStatus], ports: Mapping[ReplicaId, Ports]
    ) -> tuple[WorkloadStatus, tuple[Action, ...]]:
        resource = view_resource(workload.resource)
        runtime_of = self._manifests.runtime_of
        revisions = [
            view_revision(workload.resource, one, runtime_of(one), workload.shared) for one in workload.revisions
        ]
        dated = [self._ages.dated(replica) for replica in workload.replicas]
        replicas = view_replicas(dated, units, ports, self._drains.idle)
        actions = step(resource, revisions, replicas, self._clock.now()).actions
        return status_of(resource, revisions, replicas), actions

    async def _act(self, workload: Workload, actions: tuple[Action, ...]) -> None:
        told = _told(workload.resource)
        for action in actions:
            log.info("%s: %s", told, action)
        await _together(self._performer.perform(workload, action) for action in actions)
        version = await self._routes.publish_one(workload.resource.uid)
        if any(isinstance(action, _TOLD) for action in actions):
            await self._taken(version, workload.resource)

    async def _taken(self, version: int, of: Resource) -> None:
        """Wait until the gateway has taken it, for a while: a status tells what the gateway knows, too."""
        if not await self._xds.acknowledged(version, self._ack_timeout_s):
            log.warning("the gateway has not taken the routes of %s; going on", _told(of))

    def _starting_pause_s(self, replicas: Iterable[Replica]) -> float | None:
        """How long to wait before looking at starting replicas again; None where none starts."""
        starting = [self._ages.dated(one) for one in replicas if one.state is ReplicaState.STARTING]
        if not starting:
            return None
        age_s = (self._clock.now() - max(one.changed_at for one in starting)).total_seconds()
        return min(max(STARTING_INTERVAL_S * self._attention.count, age_s / 40), STARTING_INTERVAL_MAX_S)

    async def _units(self) -> dict[UnitId, UnitStatus]:
        return {unit.id: unit for unit in await self._driver.units() if unit.kind is UnitKind.REPLICA}

    async def _units_of(self, replicas: Iterable[Replica]) -> dict[UnitId, UnitStatus]:
        found = [await self._driver.status(replica.unit) for replica in replicas]
        return {status.id: status for status in found if status is not None}


def _told(found: Resource) -> str:
    return f"{found.kind} {found.workspace}/{found.name}"


def _read(uid: str, tx: Transaction) -> Workload | None:
    resource = tx.resources.by_uid(uid)
    return None if resource is None else read_workload(resource, tx)


async def _together(work: Iterable[Any]) -> None:
    """Do independent pieces of work at the same time, as far as the driver and the store let them; what raised is
    raised once all have ended."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
