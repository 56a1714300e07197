"""Volumes on the wire (public contract). Types are checked here, meaning in `homeport.core.volumes`."""

from typing import Any

from homeport.wire.body import Body, Kept, Reply
from homeport.wire.deployments import CoreEvent
from homeport.wire.metadata import Metadata, MetadataIn
from homeport.wire.pages import ListOf


class VolumeSpecIn(Kept):
    region: str | None = None
    size: int | None = None
    template: str | None = None


class VolumeIn(Body):
    """`events`, `state` and `status` are read-only and ignored, as are `apiVersion` and `kind` of a manifest."""

    metadata: MetadataIn
    spec: VolumeSpecIn


class VolumeState(Reply):
    """`attached_to` is `kind:name`, and absent where the volume is free."""

    attached_to: str | None = None


class Volume(Reply):
    metadata: Metadata
    spec: dict[str, Any]
    events: list[CoreEvent] | None = None
    state: VolumeState | None = None
    status: str | None = None
    terminated_at: str | None = None


class LiteVolumeMetadata(Reply):
    name: str
    created_at: str
    updated_at: str
    display_name: str | None = None
    external_id: str | None = None


class LiteVolumeSpec(Reply):
    """`size` in MB."""

    region: str | None = None
    size: int | None = None


class LiteVolume(Reply):
    """A volume in a list."""

    metadata: LiteVolumeMetadata
    spec: LiteVolumeSpec
    state: VolumeState | None = None
    status: str | None = None
    terminated_at: str | None = None


class VolumeList(ListOf[LiteVolume]):
    pass
