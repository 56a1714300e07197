"""Giving a workload the volumes that its specification names: in the commit that stores its revision, or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from homeport.app.context import Context
from homeport.core.errors import Conflict, Denied, Invalid, VolumeAttached
from homeport.core.ids import Kind
from homeport.core.volumes import Attachment, is_shared, read_attachments
from homeport.reconcile.volumes import holder_of, volume_event
from homeport.store.contract import Transaction
from homeport.store.records import Resource, Revision, VolumePlace

_ALONE = "must not exceed 1 with a volume that is written to, since two replicas would write to it"
_SHARE = (
    'Mount it with readOnly, or label the volume homeport.dev/shared: "true" if its files may have several writers.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An attachment beside the volume that it names."""

    attachment: Attachment
    field: str
    volume: Resource
    place: VolumePlace
    revision: Revision

    @property
    def alone(self) -> bool:
        """Whether only one replica may have it."""
        return not self.attachment.read_only and not is_shared(self.volume.labels)


def attach_volumes(context: Context, tx: Transaction, resource: Resource, revision: Revision | None) -> None:
    """Give `resource` the volumes of its new revision, if its order made one, and of those that are to serve. Raises
    `Invalid` for one that does not exist or is elsewhere, and for replicas that would write to one together;
    `VolumeAttached` for one that another workload has; `Denied` for an ephemeral one that is too large."""
    _check_ephemeral(context, read_attachments(resource.spec))
    to_serve = [tx.revisions.get(one) for one in resource.traffic.wanted.revisions]
    found = {one.id: _wanted(tx, one) for one in (revision, *to_serve) if one is not None}
    for wanted in (one for each in found.values() for one in each):
        _check_region(wanted)
        _check_alone(wanted, resource)
        _take(tx, resource, wanted)
    split = resource.traffic.wanted
    if split.active and split.canary:
        _check_apart(found.get(split.active, []), found.get(split.canary, []), split.canary)


def _check_ephemeral(context: Context, attachments: Iterable[Attachment]) -> None:
    most_mb = context.configuration.volumes.ephemeral_mb
    asked = sum(one.size_mb or 0 for one in attachments)
    if asked > most_mb:
        message = f"spec.volumes: ephemeral volumes of one program may have {most_mb} MB at most in all (got {asked})."
        raise Denied(message, hint=f"ephemeral_mb of [volumes] in {context.data.config} says so.")


def _wanted(tx: Transaction, revision: Revision) -> list[_Wanted]:
    found = []
    for index, attachment in enumerate(read_attachments(revision.spec)):
        if not attachment.persistent:
            continue
        field = f"spec.volumes[{index}]"
        volume = tx.resources.get(revision.workspace, Kind.VOLUME, attachment.name)
        if volume is None:
            hint = (
                f"Create it first: POST /volumes, or `homeport apply` with kind Volume and the name {attachment.name}."
            )
            raise Invalid(f"{field}.name", "must be a volume of this workspace", value=attachment.name, hint=hint)
        if volume.deleting:
            raise Conflict(f"The volume {attachment.name!r} is being deleted.", hint="Choose another.")
        place = tx.volumes.of([volume.uid])[volume.uid]
        found.append(_Wanted(attachment=attachment, field=field, volume=volume, place=place, revision=revision))
    return found


def _check_region(wanted: _Wanted) -> None:
    revision = wanted.revision
    if wanted.place.region != revision.region:
        rule = (
            f"must be the region of its volumes: {wanted.attachment.name!r} is in {wanted.place.region!r}, and this "
            f"would run in {revision.region!r}"
        )
        raise Invalid("spec.region", rule, value=revision.spec.get("region"))


def _check_alone(wanted: _Wanted, resource: Resource) -> None:
    runtime = resource.spec.get("runtime") or {}
    for key in ("minScale", "maxScale") if wanted.alone else ():
        if (runtime.get(key) or 0) > 1:
            rule = f"{_ALONE}: {wanted.attachment.name!r}"
            raise Invalid(f"spec.runtime.{key}", rule, value=runtime[key], hint=_SHARE)


def _check_apart(active: Sequence[_Wanted], canary: Sequence[_Wanted], name: str) -> None:
    """Two revisions that serve side by side have two replicas at least."""
    alone = {one.volume.name for one in (*active, *canary) if one.alone}
    common = {one.volume.name for one in active} & {one.volume.name for one in canary}
    if both := sorted(alone & common):
        rule = (
            f"must be absent with a volume that is written to, since two revisions would have it at once: {both[0]!r}"
        )
        raise Invalid("spec.revision.canary", rule, value=name, hint=_SHARE)


def _take(tx: Transaction, resource: Resource, wanted: _Wanted) -> None:
    holder = holder_of(tx, wanted.volume.name, wanted.place)
    if holder is not None and holder.uid == resource.uid:
        return
    if holder is not None:
        message = (
            f"{wanted.field}.name: the volume {wanted.volume.name!r} is attached to {holder.kind} {holder.name!r}."
        )
        raise VolumeAttached(message, hint=f"Delete that {holder.kind}, or deploy it without the volume.")
    if wanted.place.attached_to != resource.uid:
        tx.volumes.attach(wanted.volume.uid, resource.uid)
        message = f"Attached to {resource.kind} {resource.name}"
        tx.events.add(volume_event(wanted.volume, resource.updated_at, message, "Attached"))
