"""Carrying out what a rollout step asks for: one method an action. Each is safe to repeat: a row is written before its
unit starts, and a unit ends before its row goes."""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from homeport.core.clock import Clock
from homeport.core.errors import HomeportError, NoCapacity, Unavailable
from homeport.core.ids import ReplicaId, RevisionId, UnitId, new_id
from homeport.drivers.contract import Driver
from homeport.reconcile.launch import ReplicaLauncher
from homeport.reconcile.observation import Workload
from homeport.reconcile.turns import event_of, give_up, serve
from homeport.store.contract import Store, Transaction
from homeport.store.records import Event, Replica
from homeport.store.revocation import end_account
from homeport.workloads import actions
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split

log = logging.getLogger(__name__)

STOP_GRACE_S = 10.0  # between SIGTERM and SIGKILL for a replica that is taken away
ENDED_WAIT_S = STOP_GRACE_S + 2.0
ENDED_POLL_S = 0.02
LAST_LINES = 3  # of a program that ended, beside how; its log has the others
LINE_CHARACTERS = 200
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
PORTS = range(20000, 30000)  # below the range from which Linux gives ports to outgoing connections


class Performer:
    """Does what it is told, for one driver. It decides nothing. `choose_port` is given the ports of all replicas."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        driver: Driver,
        launcher: ReplicaLauncher,
        *,
        choose_port: Callable[[set[int]], int] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._driver = driver
        self._launcher = launcher
        self._choose_port = choose_port or free_port
        self._choosing_port = asyncio.Lock()
        self._methods: dict[type, Callable[[Workload, Any], Awaitable[None]]] = {
            actions.BeginStart: self._begin_start,
            actions.StartReplica: self._start_replica,
            actions.MarkReady: self._mark_ready,
            actions.NoteReplica: self._note_replica,
            actions.BackOff: self._back_off,
            actions.RestartReplica: self._restart_replica,
            actions.Serve: self._serve,
            actions.Supersede: self._supersede,
            actions.Fail: self._fail,
            actions.DrainReplica: self._drain_replica,
            actions.StopReplica: self._stop_replica,
            actions.DeleteRevision: self._delete_revision,
            actions.RemoveResource: self._remove_resource,
        }

    async def perform(self, workload: Workload, action: actions.Action) -> None:
        await self._methods[type(action)](workload, action)

    async def start_again(self, workload: Workload, replica: Replica) -> None:
        """Start the unit of a replica whose row was written and whose start was interrupted, with all its time."""
        again = replace(replica, changed_at=self._clock.now())
        if await self._store.write(lambda tx: tx.replicas.replace(again)):
            await self._start_unit(workload, again)

    async def restore(self, replica: Replica) -> None:
        """Have a new unit started for a replica whose old one was stopped with the system or is not known: not its
        program's fault, so it waits for nothing and is not counted. Only written down: `start_again` follows, as after
        any interrupted start."""
        now = self._clock.now()
        anew = replace(replica, state=ReplicaState.STARTING, unit=_next_unit(replica), message="", changed_at=now)
        await self._store.write(lambda tx: tx.replicas.replace(anew))

    async def _start_unit(self, workload: Workload, replica: Replica) -> None:
        """Start the unit of a stored replica; harmless if it runs. One that cannot start keeps the reason, and the
        next step finds it ended."""
        try:
            await self._driver.start(await self._launcher.unit(workload.revision(replica.revision_id), replica))
        except Unavailable:
            raise
        except HomeportError as error:
            log.warning("unit %s cannot start: %s %s", replica.unit, error.message, error.detail)
            failed = replace(replica, message=f"could not start: {error.message}")
            await self._store.write(lambda tx: tx.replicas.replace(failed))

    async def _begin_start(self, workload: Workload, action: actions.BeginStart) -> None:
        await self._move(workload, action.revision_id, RevisionState.STARTING, "Starting", action.reason)

    async def _start_replica(self, workload: Workload, action: actions.StartReplica) -> None:
        now = self._clock.now()
        replica_id = ReplicaId(new_id("rep"))
        async with self._choosing_port:
            replica = Replica(
                id=replica_id,
                revision_id=action.revision_id,
                resource_uid=workload.resource.uid,
                ordinal=action.ordinal,
                state=ReplicaState.STARTING,
                unit=_unit_of(replica_id, 0),
                port=await self._free_port(),
                restarts=0,
                message="",
                created_at=now,
                ready_at=None,
                changed_at=now,
            )
            await self._store.write(lambda tx: tx.replicas.insert(replica))
        await self._start_unit(workload, replica)

    async def _mark_ready(self, workload: Workload, action: actions.MarkReady) -> None:
        now = self._clock.now()
        starting = workload.replica(action.replica_id)
        status = await self._driver.status(starting.unit)
        if status is None or not status.state.alive:
            return  # it has ended since, and has no address any more: nobody shall be sent to this machine's instead
        ready = replace(
            starting,
            state=ReplicaState.READY,
            message="",
            ready_at=now,
            changed_at=now,
            address=status.address or "",
        )
        await self._store.write(lambda tx: tx.replicas.replace(ready))

    async def _note_replica(self, workload: Workload, action: actions.NoteReplica) -> None:
        replica = workload.replica(action.replica_id)
        noted = replace(replica, message=action.reason)

        def write(tx: Transaction) -> None:
            if tx.replicas.replace(noted):
                message = f"Replica {replica.ordinal} starts, and {action.reason}"
                event = self._event(workload, self._clock.now(), message, "WrongPort", replica.revision_id)
                tx.events.add(event)

        await self._store.write(write)

    async def _back_off(self, workload: Workload, action: actions.BackOff) -> None:
        replica = workload.replica(action.replica_id)
        await self._driver.stop(replica.unit, STOP_GRACE_S)
        said = await self._last_lines(replica, action.reason)
        now = self._clock.now()
        waiting = replace(
            replica, state=ReplicaState.BACKOFF, restarts=action.restarts, message=action.reason, changed_at=now
        )

        def write(tx: Transaction) -> None:
            tx.replicas.replace(waiting)
            message = f"Replica {replica.ordinal} ended: {action.reason}{said}"
            served = workload.resource.traffic.served
            if replica.revision_id == served.canary:
                message += f". It is of the canary; while none of the canary is ready, revision {served.active} answers"
            tx.events.add(self._event(workload, now, message, "ReplicaEnded", replica.revision_id))

        await self._store.write(write)

    async def _last_lines(self, replica: Replica, reason: str) -> str:
        """What its program printed last, to be put behind `reason`, how it ended; nothing where that is not to be had,
        or says it already."""
        try:
            lines = await self._driver.log_before(replica.unit, FAR_FUTURE, LAST_LINES)
        except HomeportError:
            return ""
        texts = [line.text.strip()[:LINE_CHARACTERS] for line in lines]
        if not any(texts) or reason.endswith(f": {''.join(texts)}"):
            return ""
        return f". Its last lines: {' ⏎ '.join(texts)}"

    async def _restart_replica(self, workload: Workload, action: actions.RestartReplica) -> None:
        """A new unit and, since somebody else may have taken it meanwhile, a new port."""
        replica = workload.replica(action.replica_id)
        async with self._choosing_port:
            moved = replace(
                replica,
                state=ReplicaState.STARTING,
                unit=_next_unit(replica),
                port=await self._free_port(),
                message="",
                changed_at=self._clock.now(),
            )
            await self._store.write(lambda tx: tx.replicas.replace(moved))
        await self._start_unit(workload, moved)

    async def _free_port(self) -> int:
        """Asked and written down by one at a time, so that no two replicas get the same."""
        taken = await self._store.read(lambda tx: tx.replicas.ports())
        return await asyncio.to_thread(self._choose_port, taken)

    async def _serve(self, workload: Workload, action: actions.Serve) -> None:
        uid, now = workload.resource.uid, self._clock.now()
        await self._store.write(lambda tx: serve(tx, uid, action.split, action.superseded, now, action.reason))

    async def _supersede(self, workload: Workload, action: actions.Supersede) -> None:
        await self._move(workload, action.revision_id, RevisionState.SUPERSEDED, "Superseded", action.reason)

    async def _fail(self, workload: Workload, action: actions.Fail) -> None:
        mine = [one for one in workload.replicas if one.revision_id == action.revision_id]
        said = await self._last_lines(max(mine, key=lambda one: one.restarts), action.reason) if mine else ""
        uid, now, why = workload.resource.uid, self._clock.now(), f"{action.reason}{said}"
        await self._store.write(lambda tx: give_up(tx, uid, action.revision_id, now, why))

    async def _drain_replica(self, workload: Workload, action: actions.DrainReplica) -> None:
        replica = workload.replica(action.replica_id)
        draining = replace(replica, state=ReplicaState.DRAINING, message=action.reason, changed_at=self._clock.now())
        await self._store.write(lambda tx: tx.replicas.replace(draining))

    async def _stop_replica(self, workload: Workload, action: actions.StopReplica) -> None:
        replica = workload.replica(action.replica_id)
        await self._driver.stop(replica.unit, STOP_GRACE_S)
        if workload.revision_mounts(replica.revision_id):
            await self._ended(replica.unit)
        await self._store.write(lambda tx: tx.replicas.delete(action.replica_id))

    async def _ended(self, unit: UnitId) -> None:
        """Wait until it writes to its volumes no more, so that whoever has them next starts at once. A driver that is
        slow to end it is not waited for: it starts nobody else with them before."""
        deadline = self._clock.monotonic() + ENDED_WAIT_S
        while (status := await self._driver.status(unit)) is not None and status.state.alive:
            if self._clock.monotonic() >= deadline:
                return
            await asyncio.sleep(ENDED_POLL_S)

    async def _delete_revision(self, workload: Workload, action: actions.DeleteRevision) -> None:
        await self._store.write(lambda tx: tx.revisions.delete(action.revision_id))

    async def _remove_resource(self, workload: Workload, action: actions.RemoveResource) -> None:
        await self._store.write(lambda tx: remove_workload(tx, workload.resource.uid, self._clock.now()))

    async def _move(
        self, workload: Workload, revision_id: str, state: RevisionState, reason: str, message: str
    ) -> None:
        """Set a revision's state with an event, unless it is wanted meanwhile and was not to be."""
        now = self._clock.now()
        before, uid = workload.revision(revision_id), workload.resource.uid
        message_kept = message if state is RevisionState.SUPERSEDED else before.message
        after = replace(before, state=state, message=message_kept, updated_at=now)

        def write(tx: Transaction) -> None:
            resource = tx.resources.by_uid(uid)
            wanted = resource is not None and revision_id in resource.traffic.wanted.revisions
            if wanted is (state is RevisionState.SUPERSEDED):
                return
            if tx.revisions.replace_if_state(after, before.state):
                text = f"Revision {before.id}: {message}"
                tx.events.add(self._event(workload, now, text, reason, before.id))

        await self._store.write(write)

    def _event(self, workload: Workload, now: datetime, message: str, reason: str, revision: str) -> Event:
        """Of a canary it says that it is one."""
        resource = workload.resource
        canary = resource.traffic.served.canary
        concerned = Split(active=RevisionId(revision), canary=canary if revision == canary else None)
        return event_of(resource, now, message, reason, concerned, WorkloadStatus.DEPLOYING)


def remove_workload(tx: Transaction, resource_uid: str, now: datetime) -> None:
    """Remove a workload's rows and its account, whose tokens end with it."""
    if (account := tx.identities.account_of(resource_uid)) is not None:
        end_account(tx, account, now)
    tx.resources.delete(resource_uid)


def free_port(taken: set[int]) -> int:
    """A port that no replica has and on which nobody listens now. Somebody may still be quicker: then the program
    cannot listen, and its next start gets another."""
    for port in random.sample(PORTS, len(PORTS)):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NoCapacity("No port is free for another replica.")


def _unit_of(replica_id: ReplicaId, start: int) -> UnitId:
    return UnitId(f"{replica_id}-{start}")


def _next_unit(replica: Replica) -> UnitId:
    start = int(replica.unit.rpartition("-")[2]) + 1
    return _unit_of(replica.id, start)
