"""Homeport's own answers under `/v0/homeport/` (outside the contract): explanations and the status."""

from typing import Any, Literal

from pydantic import Field

from homeport.wire.body import Reply


class ExplainStep(Reply):
    """One step of a decision: what was looked at, what was found, in words, and what to change."""

    subject: str
    verdict: Literal["allows", "refuses", "limits", "ignored"]
    sentence: str
    hint: str | None = None


class ExplainPlan(Reply):
    region: str
    flavor: str


class ExplainRefusal(Reply):
    message: str
    hint: str
    policies: list[str]


class Explain(Reply):
    """Why a workload may run where it would, or may not: `plan` when it may, `refusal` when not. `newest_revision`
    says where the newest one was placed, which may be by an older decision."""

    kind: str
    name: str
    outcome: Literal["allowed", "refused"]
    steps: list[ExplainStep]
    plan: ExplainPlan | None = None
    refusal: ExplainRefusal | None = None
    newest_revision: str | None = None


class ReplicaStatus(Reply):
    agent: str
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
    jobs: int
    replicas: list[ReplicaStatus]
    executions: dict[str, str]
    regions: list[str]
    sandbox: dict[str, Any]
    notes: list[str] = Field(default_factory=list)
