"""Create, read, change and delete volumes. What is in them is the drivers'; a volume that goes is emptied by
`homeport.reconcile.volumes`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from homeport.app.context import Context, Intent
from homeport.app.resources import every_of, fetch, new_resource, updated
from homeport.configuration import LOCAL
from homeport.core.errors import Conflict, Denied, DriverUnavailable, Invalid, NotFound, VolumeAttached, VolumeExists
from homeport.core.ids import Kind
from homeport.core.spec import read_text
from homeport.core.volumes import SHARED_LABEL, is_shared, read_size
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.placement.plan import pinned_region
from homeport.policy.inventory import Region
from homeport.reconcile.deletion import mark_deleting
from homeport.reconcile.volumes import holder_of, volume_event
from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource, VolumePlace
from homeport.workloads.states import WorkloadStatus

_TEMPLATES = "must be absent: volume templates are not served by this version"


async def create_volume(context: Context, principal: Principal, intent: Intent) -> tuple[Resource, list[Event]]:
    """Store a new volume, which is ready at once and empty. Raises `Invalid` for a bad specification, `Denied` where
    volumes are off or one would be too large, `VolumeExists`, `DiskFull`."""
    require(principal, "volumes:create")
    if not context.configuration.volumes.enabled:
        raise Denied("Volumes are off in this installation.", hint=f"[volumes] in {context.data.config} says so.")
    context.space.require()
    _refuse_template(intent)
    size_mb = read_size(intent.spec)
    asked = read_text(intent.spec, "region", "spec.region")
    region = pinned_region(context.regions, asked)
    place = region.name if region else LOCAL
    spec = {**intent.spec, "size": size_mb, "region": asked if region else place}
    volume = new_resource(principal, Kind.VOLUME, replace(intent, spec=spec), context.clock.now())
    volume = replace(volume, status=WorkloadStatus.DEPLOYED, observed_generation=volume.generation)
    warning = await _unenforced(context, region)

    def write(tx: Transaction) -> tuple[Resource, list[Event]]:
        if tx.resources.get(volume.workspace, Kind.VOLUME, volume.name) is not None:
            raise VolumeExists(f"The volume {volume.name!r} exists already in workspace {volume.workspace!r}.")
        _check_bounds(context, tx, volume, size_mb)
        tx.resources.insert(volume)
        tx.volumes.add(VolumePlace(resource_uid=volume.uid, region=place))
        message = f"Created with {size_mb} MB in region {place}"
        tx.events.add(volume_event(volume, volume.created_at, message, "Created"))
        if warning:
            tx.events.add(volume_event(volume, volume.created_at, warning, "SizeNotEnforced"))
        return volume, tx.events.of(volume.uid)

    return await context.store.write(write)


async def update_volume(context: Context, principal: Principal, intent: Intent) -> tuple[Resource, list[Event]]:
    """Change names, labels and size, which may only grow. Raises `Invalid` for what is fixed, `Denied` for a size that
    is too large, `NotFound`, `Conflict`, `VolumeAttached` for whether it is shared."""
    require(principal, "volumes:update")
    _refuse_template(intent)
    now = context.clock.now()

    def write(tx: Transaction) -> tuple[Resource, list[Event]]:
        stored = fetch(tx, principal.workspace, Kind.VOLUME, intent.name)
        _refuse_deleting(stored)
        place = tx.volumes.of([stored.uid])[stored.uid]
        spec = _changed(context, stored, place, intent)
        volume = updated(stored, principal, replace(intent, spec=spec), now)
        volume = replace(volume, observed_generation=volume.generation)
        if is_shared(stored.labels) != is_shared(volume.labels):
            _refuse_attached(tx, stored, place, f"the label {SHARED_LABEL} cannot change")
        before, size_mb = read_size(stored.spec), read_size(spec)
        if size_mb > before:
            context.space.require()
            _check_bounds(context, tx, volume, size_mb)
            tx.events.add(volume_event(volume, now, f"Grown from {before} MB to {size_mb} MB", "Grown"))
        if not tx.resources.replace(volume, stored.generation):
            raise Conflict(f"The volume {intent.name!r} was changed at the same moment.", hint="Try again.")
        return volume, tx.events.of(volume.uid)

    found = await context.store.write(write)
    context.signals.rollouts.wake()
    return found


async def delete_volume(context: Context, principal: Principal, name: str) -> tuple[Resource, list[Event]]:
    """Ask for a volume to go with its content. Raises `VolumeAttached` while a workload has it. Repeating it is
    harmless while it is on its way."""
    require(principal, "volumes:delete")
    now = context.clock.now()

    def write(tx: Transaction) -> tuple[Resource, list[Event]]:
        stored = fetch(tx, principal.workspace, Kind.VOLUME, name)
        if stored.deleting:
            return stored, tx.events.of(stored.uid)
        _refuse_attached(tx, stored, tx.volumes.of([stored.uid]).get(stored.uid), "it cannot be deleted")
        going = mark_deleting(tx, stored, now, principal.sub)
        tx.events.add(volume_event(going, now, "Deletion requested", "DeleteRequested"))
        return going, tx.events.of(going.uid)

    answer = await context.store.write(write)
    context.signals.volumes.wake()
    return answer


async def volume_by_external_id(
    context: Context, principal: Principal, external_id: str
) -> tuple[Resource, list[Event]]:
    """The newest volume with this id that does not go away. Raises `NotFound`."""
    require(principal, "volumes:get")

    def read(tx: Transaction) -> tuple[Resource, list[Event]]:
        found = tx.resources.by_external_id(principal.workspace, Kind.VOLUME, external_id)
        if found is None:
            raise NotFound(f"There is no volume with the external id {external_id!r} in {principal.workspace!r}.")
        return found, tx.events.of(found.uid)

    return await context.store.read(read)


async def holders_of(context: Context, volumes: Sequence[Resource]) -> Mapping[str, str]:
    """What has each of these volumes, as the contract writes it (`agent:name`), by their uid, without free ones."""

    def read(tx: Transaction) -> dict[str, str]:
        places = tx.volumes.of([volume.uid for volume in volumes])
        found = {one.uid: holder_of(tx, one.name, places.get(one.uid)) for one in volumes}
        return {uid: f"{holder.kind}:{holder.name}" for uid, holder in found.items() if holder is not None}

    return await context.store.read(read)


async def _unenforced(context: Context, region: Region | None) -> str:
    """Why nothing keeps what is in a volume of this region to its size, in words; empty where something does. A program
    of this machine is always ended that writes more."""
    if region is None or not region.runs_images:
        return ""
    try:
        facts = await context.drivers[region.driver].info()
    except DriverUnavailable:
        return f"Its size may not be enforced: the engine of the region {region.name} does not answer"
    if facts.get("disk_limit") == "counted":
        return ""
    return f"Its size is not enforced: what the engine of the region {region.name} writes is not seen from here"


def _refuse_template(intent: Intent) -> None:
    if (named := read_text(intent.spec, "template", "spec.template")) is not None:
        raise Invalid("spec.template", _TEMPLATES, value=named)


def _refuse_deleting(volume: Resource) -> None:
    if volume.deleting:
        raise Conflict(f"The volume {volume.name!r} is being deleted.", hint="Wait until it is gone.")


def _refuse_attached(tx: Transaction, volume: Resource, place: VolumePlace | None, what: str) -> None:
    if (holder := holder_of(tx, volume.name, place)) is not None:
        message = f"The volume {volume.name!r} is attached to {holder.kind} {holder.name!r}: {what}."
        hint = f"Delete that {holder.kind}, or deploy it without the volume."
        raise VolumeAttached(message, hint=hint)


def _changed(context: Context, stored: Resource, place: VolumePlace, intent: Intent) -> dict[str, object]:
    """The specification with what may change; what is absent stays."""
    asked = read_text(intent.spec, "region", "spec.region")
    region = pinned_region(context.regions, asked) if asked else None
    if region is not None and region.name != place.region:
        raise Invalid("spec.region", f"cannot change; it is {place.region!r}", value=asked)
    before = read_size(stored.spec)
    size_mb = read_size(intent.spec) if intent.spec.get("size") is not None else before
    if size_mb < before:
        raise Invalid("spec.size", f"may only grow; it is {before} MB", value=size_mb)
    return {**intent.spec, "size": size_mb, "region": asked or stored.spec["region"]}


def _check_bounds(context: Context, tx: Transaction, volume: Resource, size_mb: int) -> None:
    """Raises `Denied` (public contract) for what is larger than the operator allows."""
    bounds = context.configuration.volumes
    if size_mb > bounds.volume_mb:
        message = f"spec.size: a volume may have {bounds.volume_mb} MB at most (got {size_mb})."
        raise Denied(message, hint=f"volume_mb of [volumes] in {context.data.config} says so.")
    others = [one for one in every_of(tx, volume.workspace, Kind.VOLUME) if one.uid != volume.uid]
    taken = sum(read_size(one.spec) for one in others)
    if taken + size_mb > bounds.workspace_mb:
        message = (
            f"spec.size: the volumes of a workspace may have {bounds.workspace_mb} MB at most in all; the others have "
            f"{taken} MB (got {size_mb})."
        )
        raise Denied(message, hint=f"workspace_mb of [volumes] in {context.data.config} says so.")
