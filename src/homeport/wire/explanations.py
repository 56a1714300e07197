"""Homeport's own answers about decisions (outside the contract): explanations, and what a change would do."""

from typing import Literal

from homeport.wire.body import Body, Reply
from homeport.wire.metadata import MetadataIn, Name
from homeport.wire.policies import PolicySpecIn


class ExplainStep(Reply):
    """One step of a decision: what was looked at, what was found, in words, and what to change."""

    subject: str
    verdict: Literal["allows", "refuses", "limits", "states", "ignored"]
    sentence: str
    hint: str | None = None


class ExplainPlan(Reply):
    region: str
    flavor: str


class ExplainRefusal(Reply):
    message: str
    hint: str
    policies: list[str]


class ExplainRevision(Reply):
    """`allowed`: whether today's decision would still place it there."""

    id: str
    state: str
    region: str
    flavor: str
    allowed: bool


class ExplainUser(Reply):
    """A workload that names the policy, and what all of its policies decide now."""

    kind: str
    name: str
    outcome: Literal["allowed", "refused"]
    sentence: str


class Explain(Reply):
    """Of a workload: why it may run where it would, or may not: `plan` when it may, `refusal` when not.
    `newest_revision` says where the newest one was placed, which may be by an older decision.

    Of a policy: `users` are the first workloads that name it, `outcome` says whether all of these are allowed now;
    `users_total` is how many there are."""

    kind: str
    name: str
    outcome: Literal["allowed", "refused"]
    steps: list[ExplainStep]
    plan: ExplainPlan | None = None
    refusal: ExplainRefusal | None = None
    newest_revision: ExplainRevision | None = None
    users: list[ExplainUser] | None = None
    users_total: int | None = None


class PolicyDryRunIn(Body):
    """A policy as it would be made or changed (`metadata` and `spec`), or `name` with `delete`. `attach`: as if every
    agent and job of the workspace named it."""

    metadata: MetadataIn | None = None
    name: Name | None = None
    spec: PolicySpecIn | None = None
    delete: bool | None = None
    attach: bool | None = None


class DryRunEffect(Reply):
    """A workload that would be treated otherwise at its next deployment or execution, and why."""

    kind: str
    name: str
    sentence: str
    hint: str | None = None


class PolicyDryRun(Reply):
    """`outcome` is `refuses` when a workload that is allowed now would be refused. Counts are exact; lists hold the
    first thousand."""

    name: str
    change: Literal["create", "update", "delete"]
    outcome: Literal["refuses", "safe"]
    refused_total: int
    allowed_total: int
    moved_total: int
    unaffected: int
    refused_anyway: int
    refused: list[DryRunEffect]
    allowed: list[DryRunEffect]
    moved: list[DryRunEffect]
