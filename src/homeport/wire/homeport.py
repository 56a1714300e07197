"""Homeport's own answers under `/v0/homeport/` (outside the contract): the status."""

from typing import Any

from pydantic import Field

from homeport.wire.body import Reply


class ReplicaStatus(Reply):
    kind: str
    name: str
    revision: str
    state: str
    port: int
    restarts: int
    message: str | None = None


class Status(Reply):
    """Work of the caller's workspace; `sandbox`, `regions` and `notes` are of the whole installation. `executions`
    maps those that have not ended to their status."""

    version: str
    url: str
    workspace: str
    agents: int
    functions: int
    jobs: int
    replicas: list[ReplicaStatus]
    executions: dict[str, str]
    regions: list[str]
    sandbox: dict[str, Any]
    notes: list[str] = Field(default_factory=list)
