"""Functions (MCP servers) on the wire (public contract). Types are checked here, bounds in
`homeport.workloads.settings`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from homeport.wire.agents import AgentRuntimeIn
from homeport.wire.body import Body, Kept, Reply
from homeport.wire.deployments import (
    CoreEvent,
    Enabled,
    PortIn,
    RepositoryIn,
    RevisionConfigurationIn,
    Status,
    TriggerIn,
)
from homeport.wire.metadata import Metadata, MetadataIn
from homeport.wire.pages import ListOf


class FunctionRuntimeIn(AgentRuntimeIn):
    ports: list[PortIn] | None = None
    transport: Literal["websocket", "http-stream"] | None = None


class FunctionSpecIn(Kept):
    """`repository` is this installation's own."""

    enabled: Enabled = None
    integration_connections: list[str] | None = None
    policies: list[str] | None = None
    public: Annotated[bool | None, Field(json_schema_extra={"default": False})] = None
    region: str | None = None
    repository: RepositoryIn | None = None
    revision: RevisionConfigurationIn | None = None
    runtime: FunctionRuntimeIn | None = None
    triggers: list[TriggerIn] | None = None


class FunctionIn(Body):
    """`events` and `status` are read-only and ignored, as are `apiVersion` and `kind` of a manifest."""

    metadata: MetadataIn
    spec: FunctionSpecIn


class Function(Reply):
    """`spec` as stored, secrets masked by the caller of this class."""

    metadata: Metadata
    spec: dict[str, Any]
    events: list[CoreEvent] | None = None
    status: Status | None = None


class FunctionList(ListOf[Function]):
    pass
