"""How a rollout stands, and what is asked of it, under `/v0/homeport/rollouts` (outside the contract)."""

from pydantic import Field

from homeport.wire.body import Body, Reply
from homeport.wire.deployments import RevisionMetadata


class RolloutIn(Body):
    """`revision` instead of the one that would be chosen; `percent`, for a promotion: what it gets, 100 for all."""

    revision: str | None = None
    percent: int | None = Field(default=None, ge=0, le=100)


class Share(Reply):
    """Who gets which share: `canary` has `canaryPercent`, `active` the rest."""

    active: str | None = None
    canary: str | None = None
    canary_percent: int | None = None


class Rollout(Reply):
    """`served` is what holds now, `wanted` what is on its way, absent where nothing is. `failure` says why the last
    order came to nothing, `failed` for which revision."""

    kind: str
    name: str
    status: str
    served: Share
    wanted: Share | None = None
    previous_active: str | None = None
    failed: str | None = None
    failure: str | None = None
    revisions: list[RevisionMetadata] = Field(default_factory=list)
