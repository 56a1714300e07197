"""Jobs on the wire (public contract). Types are checked here, bounds in `homeport.jobs.settings`."""

from typing import Any, Literal

from homeport.wire.body import Body, Kept, Reply
from homeport.wire.deployments import (
    CoreEvent,
    Enabled,
    EnvIn,
    PortIn,
    RepositoryIn,
    RevisionConfigurationIn,
    Status,
    TriggerIn,
    VariableIn,
)
from homeport.wire.metadata import Metadata, MetadataIn
from homeport.wire.pages import ListOf
from homeport.wire.policies import FlavorIn


class JobRuntimeIn(Kept):
    """`timeout` is a number of seconds in the contract; the public CLI copies a manifest's `15m` as it is.
    `args`, `command`, `cpu`, `expires` and `ttl` are the older contract's; `max_concurrent_tasks` left the contract but
    not the manifests."""

    args: list[str] | None = None
    command: list[str] | None = None
    cpu: int | float | None = None
    disk_percent: int | None = None
    envs: list[EnvIn] | None = None
    expires: str | None = None
    generation: Literal["mk2", "mk3"] | None = None
    image: str | None = None
    max_concurrent_tasks: int | None = None
    max_retries: int | None = None
    memory: int | None = None
    ports: list[PortIn] | None = None
    timeout: int | str | None = None
    ttl: int | str | None = None


class JobVolumeIn(Kept):
    name: str
    mount_path: str
    size_mb: int
    type: Literal["ephemeral"]
    read_only: bool | None = None


class GithubRunnerConfigIn(Kept):
    repositories: list[str] | None = None


class JobSpecIn(Kept):
    """`configurations`, `flavors` and `integration_connections` are the older contract's, `repository` is this
    installation's own."""

    configurations: dict[str, VariableIn] | None = None
    enabled: Enabled = None
    flavors: list[FlavorIn] | None = None
    github_runner: GithubRunnerConfigIn | None = None
    integration_connections: list[str] | None = None
    policies: list[str] | None = None
    region: str | None = None
    repository: RepositoryIn | None = None
    revision: RevisionConfigurationIn | None = None
    runtime: JobRuntimeIn | None = None
    triggers: list[TriggerIn] | None = None
    volumes: list[JobVolumeIn] | None = None


class JobIn(Body):
    """`events` and `status` are read-only and ignored, as are `apiVersion` and `kind` of a manifest."""

    metadata: MetadataIn
    spec: JobSpecIn


class Job(Reply):
    """`spec` as stored, secrets masked by the caller of this class."""

    metadata: Metadata
    spec: dict[str, Any]
    events: list[CoreEvent] | None = None
    status: Status | None = None


class JobList(ListOf[Job]):
    pass
