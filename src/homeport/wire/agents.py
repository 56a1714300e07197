"""Agents on the wire (public contract). Types are checked here, bounds in `homeport.workloads.settings`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from homeport.wire.body import Body, Kept, Reply
from homeport.wire.deployments import (
    CoreEvent,
    Enabled,
    EnvIn,
    RepositoryIn,
    RevisionConfigurationIn,
    Status,
    TriggerIn,
)
from homeport.wire.metadata import Metadata, MetadataIn
from homeport.wire.pages import ListOf


class AgentRuntimeIn(Kept):
    envs: list[EnvIn] | None = None
    generation: Literal["mk2", "mk3"] | None = None
    image: str | None = None
    max_scale: int | None = None
    memory: int | None = None
    min_scale: int | None = None


class VolumeAttachmentIn(Kept):
    name: str | None = None
    mount_path: str | None = None
    read_only: bool | None = None
    size_mb: int | None = None
    type: Literal["persistent", "ephemeral"] | None = None


class AgentSpecIn(Kept):
    enabled: Enabled = None
    policies: list[str] | None = None
    public: Annotated[bool | None, Field(json_schema_extra={"default": False})] = None
    region: str | None = None
    repository: RepositoryIn | None = None
    revision: RevisionConfigurationIn | None = None
    runtime: AgentRuntimeIn | None = None
    triggers: list[TriggerIn] | None = None
    volumes: list[VolumeAttachmentIn] | None = None


class AgentIn(Body):
    """`events` and `status` are read-only and ignored, as are `apiVersion` and `kind` of a manifest."""

    metadata: MetadataIn
    spec: AgentSpecIn


class Agent(Reply):
    """`spec` as stored, secrets masked by the caller of this class."""

    metadata: Metadata
    spec: dict[str, Any]
    events: list[CoreEvent] | None = None
    status: Status | None = None


class AgentList(ListOf[Agent]):
    pass
