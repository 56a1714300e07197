"""Policies on the wire (public contract). Types are checked here, meaning in `homeport.policy`."""

from typing import Any, Literal

from pydantic import Field

from homeport.wire.body import Body, Kept, Reply
from homeport.wire.metadata import Metadata, MetadataIn
from homeport.wire.pages import ListOf


class PolicyLocationIn(Kept):
    name: str | None = None
    type: Literal["location", "country", "continent"] | None = None


class FlavorIn(Kept):
    name: str | None = None
    type: Literal["cpu", "gpu"] | None = None


class PolicyMaxTokensIn(Kept):
    granularity: str | None = None
    step: int | None = None
    input: int | None = None
    output: int | None = None
    total: int | None = None
    ratio_input_over_output: int | float | None = None


class PolicySpecIn(Kept):
    """A `job` among `resource_types` is refused: the contract has no such member, and the public Python SDK fails on
    reading it back."""

    type: Literal["location", "flavor", "maxToken"]
    locations: list[PolicyLocationIn] | None = None
    flavors: list[FlavorIn] | None = None
    max_tokens: PolicyMaxTokensIn | None = None
    resource_types: list[Literal["model", "function", "agent", "sandbox", "application"]] | None = None
    sandbox: bool | None = None


class PolicyIn(Body):
    metadata: MetadataIn
    spec: PolicySpecIn


class PolicyUsageCounts(Reply):
    """How many workloads of each kind carry the policy; the list operation fills it."""

    agents: int = 0
    functions: int = 0
    jobs: int = 0
    models: int = 0
    sandboxes: int = 0


class Policy(Reply):
    metadata: Metadata
    spec: dict[str, Any]
    usage: PolicyUsageCounts | None = None


class PolicyList(ListOf[Policy]):
    pass


class PolicyUsages(Reply):
    """Names, as the contract's prose says; its type says objects (decision 0005)."""

    agents: list[str] = Field(default_factory=list)
    functions: list[str] = Field(default_factory=list)
    jobs: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    sandboxes: list[str] = Field(default_factory=list)
