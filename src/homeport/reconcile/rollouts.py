"""The loop that rolls out: agents get the replicas and the routes that they should have, jobs the revision that they
run. What to do is decided by `homeport.workloads.rollout`; a pass looks, asks, acts and publishes."""

import logging
from dataclasses import replace
from datetime import datetime
from functools import partial

from homeport.core.clock import Clock
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.ids import Kind, ReplicaId, UnitId
from homeport.core.service import Background, Signals
from homeport.core.units import UnitKind, UnitStatus
from homeport.dataplane.routes import Endpoint
from homeport.dataplane.xds import XdsServer
from homeport.drivers.contract import Driver
from homeport.reconcile.job_revisions import roll_out_job
from homeport.reconcile.observation import Workload, read_workload, view_replicas, view_resource, view_revision
from homeport.reconcile.replicas import Performer
from homeport.reconcile.routes import LOOPBACK, Routes
from homeport.store.contract import Store, Transaction
from homeport.store.records import Replica, Resource
from homeport.workloads.actions import Action, BackOff, DrainReplica, RestartReplica, StartReplica
from homeport.workloads.rollout import status_of, step
from homeport.workloads.states import ReplicaState, WorkloadStatus

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 1.0  # when nothing wakes it
STARTING_INTERVAL_S = 0.05  # while a program starts: how much later than it listens it gets its first request
ACTING_PASSES = 20  # steps in a row for one workload: a rollout has five; more would be a circle
ACK_TIMEOUT_S = 10.0  # for Envoy to take new routes; it takes milliseconds
DRAIN_REPORT_S = 60.0  # longer than any drain: the step itself gives up first


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
    ) -> None:
        self._store = store
        self._clock = clock
        self._driver = driver
        self._performer = performer
        self._routes = routes
        self._xds = xds
        self._signals = signals
        self._background = Background()
        self._idle: set[ReplicaId] = set()
        self._draining: set[ReplicaId] = set()
        self._restored = False
        self.passes = 0

    async def start(self) -> None:
        self._background.spawn("rollouts", self._loop())
        self._background.spawn("rollouts.exits", self._wake_at_exits())

    async def stop(self) -> None:
        await self._background.stop()

    async def _wake_at_exits(self) -> None:
        """The end of a replica is seen at once. The state is read from the units, so no position is kept."""
        async for exit_ in self._driver.exits(0):
            if exit_.status.kind is UnitKind.REPLICA:
                self._signals.rollouts.wake()

    async def _loop(self) -> None:
        while True:
            busy = False
            try:
                busy = await self._pass()
            except Unavailable as error:
                log.warning("rollouts wait: %s", error.message)
            except HomeportError:
                log.exception("a pass over the rollouts failed; the next one starts over")
            await self._signals.rollouts.wait(STARTING_INTERVAL_S if busy else PASS_INTERVAL_S)

    async def _pass(self) -> bool:
        """One pass over every workload; says whether something is starting, so that the next pass comes soon."""
        if not self._restored:
            await self._restore()
        agents, jobs = await self._store.read(lambda tx: (tx.resources.every(Kind.AGENT), tx.resources.every(Kind.JOB)))
        busy = False
        for agent in agents:
            try:
                busy = await self._roll_out_agent(agent) or busy
            except Unavailable:
                raise
            except HomeportError:
                # One workload that cannot go on must not keep the others from it.
                log.exception("the rollout of agent %s/%s failed", agent.workspace, agent.name)
        for job in jobs:
            await self._store.write(partial(roll_out_job, job.uid, self._clock.now()))
        self.passes += 1
        return busy

    async def _restore(self) -> None:
        """After a start: bring back the replicas whose units nobody knows any more, then publish. Envoy keeps what it
        had until then, so that a restart of the server is not seen outside."""
        units = await self._units()
        for agent in await self._store.read(lambda tx: tx.resources.every(Kind.AGENT)):
            workload = await self._store.read(partial(read_workload, agent))
            for replica in workload.replicas:
                status = units.get(replica.unit)
                stopped = status is not None and status.outcome is not None and status.outcome.stopped
                if status is not None and not stopped:
                    continue
                if replica.state is ReplicaState.DRAINING or agent.deleting:
                    continue  # on its way out: the next step removes it
                await self._performer.restore(workload, replica)
        await self._routes.publish()
        self._restored = True

    async def _roll_out_agent(self, agent: Resource) -> bool:
        for _ in range(ACTING_PASSES):
            workload = await self._store.read(lambda tx: self._read(tx, agent.uid))
            if workload is None:
                await self._routes.publish()
                self._signals.garbage.wake()
                return False
            actions = await self._decide(workload)
            for action in actions:
                log.info("agent %s/%s: %s", agent.workspace, agent.name, action)
                await self._performer.perform(workload, action)
            version = await self._routes.publish() if actions else 0
            if not actions:
                await self._watch_draining(workload)
                return any(replica.state is ReplicaState.STARTING for replica in workload.replicas)
            await self._xds.acknowledged(version, ACK_TIMEOUT_S)
            if any(isinstance(action, _WAITING) for action in actions):
                return True
        return True

    def _read(self, tx: Transaction, uid: str) -> Workload | None:
        resource = tx.resources.by_uid(uid)
        return None if resource is None else read_workload(resource, tx)

    async def _decide(self, workload: Workload) -> tuple[Action, ...]:
        now = self._clock.now()
        resource = view_resource(workload.resource)
        revisions = [view_revision(revision) for revision in workload.revisions]
        replicas = await view_replicas(self._driver, workload.replicas, await self._units(), self._idle)
        status = status_of(resource, revisions, replicas)
        await self._record_status(workload.resource, status, now)
        return step(resource, revisions, replicas, now).actions

    async def _record_status(self, resource: Resource, status: WorkloadStatus, now: datetime) -> None:
        settled = status in (WorkloadStatus.DEPLOYED, WorkloadStatus.FAILED, WorkloadStatus.DEACTIVATED)
        observed = resource.generation if settled else resource.observed_generation
        if (resource.status, resource.observed_generation) != (status, observed):
            seen = replace(resource, status=status, observed_generation=observed)
            await self._store.write(lambda tx: tx.resources.replace(seen, resource.generation))

    async def _units(self) -> dict[UnitId, UnitStatus]:
        return {unit.id: unit for unit in await self._driver.units() if unit.kind is UnitKind.REPLICA}

    async def _watch_draining(self, workload: Workload) -> None:
        """Find out in the background when the requests of draining replicas have ended."""
        present = {replica.id for replica in workload.replicas}
        for replica in workload.replicas:
            if replica.state is ReplicaState.DRAINING and replica.id not in self._draining:
                self._draining.add(replica.id)
                self._background.spawn(f"drain.{replica.id}", self._drained(replica))
        self._idle &= present | self._draining

    async def _drained(self, replica: Replica) -> None:
        try:
            endpoint = Endpoint(address=LOOPBACK, port=replica.port, draining=True)
            if await self._xds.drained([endpoint], DRAIN_REPORT_S):
                self._idle.add(replica.id)
                self._signals.rollouts.wake()
        finally:
            self._draining.discard(replica.id)


# After these there is nothing to decide until a program has done something.
_WAITING = (StartReplica, RestartReplica, BackOff, DrainReplica)
