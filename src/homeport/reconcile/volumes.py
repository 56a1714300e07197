"""What has a volume, and the loop that frees volumes which nothing uses any more and removes those that are to go:
first the content, then the row, so that one that is interrupted begins anew and nothing is forgotten."""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from homeport.core.clock import Clock
from homeport.core.errors import Conflict, HomeportError, Unavailable
from homeport.core.ids import Kind
from homeport.core.service import Background, Wakeup
from homeport.core.units import VolumeMount
from homeport.core.volumes import Attachment, is_shared, read_size, stored_persistent
from homeport.drivers.contract import Driver
from homeport.store.contract import Store, Transaction
from homeport.store.records import Event, Resource, Revision, VolumePlace
from homeport.workloads.states import RevisionState, WorkloadStatus

log = logging.getLogger(__name__)

PASS_INTERVAL_S = 15.0  # so late at the most a volume says that it is free; whoever wants it may have it before
# What is on its way to serve, or does; another revision has its volumes only while replicas of it are left.
_USES = frozenset(
    {
        RevisionState.UPLOADING,
        RevisionState.BUILDING,
        RevisionState.BUILT,
        RevisionState.STARTING,
        RevisionState.SERVING,
    }
)


def holder_of(tx: Transaction, volume: str, place: VolumePlace | None) -> Resource | None:
    """The workload that has the volume of this name, if one does: its specification names it, or a revision that is to
    run, or one of which replicas are left."""
    holder = tx.resources.by_uid(place.attached_to) if place is not None and place.attached_to else None
    if holder is None or _names(holder.spec, volume):
        return holder
    running = {replica.revision_id for replica in tx.replicas.of(holder.uid)}
    for revision in tx.revisions.of(holder.uid):
        if (revision.state in _USES or revision.id in running) and _names(revision.spec, volume):
            return holder
    return None


def kept_mounts(tx: Transaction, revision: Revision, attachments: Iterable[Attachment]) -> dict[str, VolumeMount]:
    """The persistent volumes as a unit of the revision gets them, by name. Raises `Conflict` for one that is gone, or
    is not given to its workload: nobody sees what is another's."""
    found = {}
    for one in attachments:
        if not one.persistent:
            continue
        volume = tx.resources.get(revision.workspace, Kind.VOLUME, one.name)
        place = tx.volumes.of([volume.uid]).get(volume.uid) if volume is not None else None
        if volume is None or place is None or volume.deleting:
            raise Conflict(f"The volume {one.name!r} does not exist any more.")
        if place.attached_to != revision.resource_uid:
            raise Conflict(f"The volume {one.name!r} is not attached to {revision.kind} {revision.name!r} any more.")
        found[one.name] = VolumeMount(
            path=one.path,
            name=one.name,
            size_mb=read_size(volume.spec),
            volume=volume.uid,
            writable=not one.read_only,
            alone=not one.read_only and not is_shared(volume.labels),
        )
    return found


def volume_event(volume: Resource, now: datetime, message: str, reason: str) -> Event:
    status = WorkloadStatus.DELETING if volume.deleting else WorkloadStatus.DEPLOYED
    return Event(resource_uid=volume.uid, time=now, type="volume", status=status, message=message, reason=reason)


class Volumes:
    """The service. `drivers` by region."""

    def __init__(self, store: Store, clock: Clock, drivers: Mapping[str, Driver], wakeup: Wakeup) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._wakeup = wakeup
        self._background = Background()

    async def start(self) -> None:
        if not self._background.active:
            self._background.spawn("volumes", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("volumes wait: %s", error.message)
            except Exception:  # a bug in one pass must not keep every later volume for ever
                log.exception("a pass over the volumes failed; the next one starts over")
            await self._wakeup.wait(PASS_INTERVAL_S)

    async def look(self) -> None:
        """One pass."""
        if await self._store.read(_unused):
            await self._store.write(lambda tx: _free_unused(tx, self._clock.now()))
        for volume, place in await self._store.read(_going):
            try:
                await self._remove(volume, place)
            except HomeportError as error:  # such as an engine that is away; the others go
                log.warning("volume %s/%s cannot go yet: %s", volume.workspace, volume.name, error.for_caller())

    async def _remove(self, volume: Resource, place: VolumePlace | None) -> None:
        if place is not None:
            driver = self._drivers.get(place.region)
            if driver is None:
                raise Unavailable(f"Its region {place.region!r} is not in the configuration.")
            await driver.discard_volume(volume.uid)
        await self._store.write(lambda tx: tx.resources.delete(volume.uid))


def _going(tx: Transaction) -> list[tuple[Resource, VolumePlace | None]]:
    going = [one for one in tx.resources.unsettled(Kind.VOLUME, (), (), 0) if one.deleting]
    places = tx.volumes.of([volume.uid for volume in going])
    return [(volume, places.get(volume.uid)) for volume in going]


def _unused(tx: Transaction) -> list[tuple[Resource, Resource]]:
    """Volumes that are attached to a workload which has no use for them any more."""
    found = []
    for place in tx.volumes.attached():
        volume = tx.resources.by_uid(place.resource_uid)
        former = tx.resources.by_uid(place.attached_to or "")
        if volume is not None and former is not None and holder_of(tx, volume.name, place) is None:
            found.append((volume, former))
    return found


def _free_unused(tx: Transaction, now: datetime) -> None:
    for volume, former in _unused(tx):
        tx.volumes.attach(volume.uid, None)
        tx.events.add(volume_event(volume, now, f"Free again: {former.kind} {former.name} does not use it", "Freed"))


def _names(spec: Mapping[str, object], volume: str) -> bool:
    return any(one.name == volume for one in stored_persistent(spec))
