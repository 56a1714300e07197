"""Routes of rollouts, which are Homeport's own: how one stands, promote, undo, abort."""

from typing import Any

from fastapi import APIRouter

from homeport.api import views
from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.api.homeport import workload_kind
from homeport.app import rollouts
from homeport.app.rollouts import Verb
from homeport.wire.rollouts import Rollout, RolloutIn, Share
from homeport.workloads.traffic import Split

router = APIRouter(prefix="/v0/homeport/rollouts", tags=["homeport"], route_class=JsonRoute)
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Rollout}}


@router.get("/{kind}/{name}", operation_id="GetRollout", responses=SHAPE)
async def get_rollout_route(ctx: Ctx, caller: Caller, kind: str, name: str) -> Any:
    """Which revision serves which share, what is on its way, and why the last order came to nothing, if it did."""
    return _shown(await rollouts.read_rollout(ctx, caller, workload_kind(kind), name)).to_json()


@router.post("/{kind}/{name}/promote", operation_id="PromoteRollout", responses=SHAPE)
async def promote_rollout_route(ctx: Ctx, caller: Caller, kind: str, name: str, body: RolloutIn) -> Any:
    """Give the canary, or another revision that is kept, all requests, or `percent` of them."""
    percent = 100 if body.percent is None else body.percent
    order = rollouts.Order(verb=Verb.PROMOTE, revision=body.revision or "", percent=percent)
    return _shown(await rollouts.order_rollout(ctx, caller, workload_kind(kind), name, order)).to_json()


@router.post("/{kind}/{name}/undo", operation_id="UndoRollout", responses=SHAPE)
async def undo_rollout_route(ctx: Ctx, caller: Caller, kind: str, name: str, body: RolloutIn) -> Any:
    """Let the revision serve that was active before, or another one that is kept, without a build."""
    order = rollouts.Order(verb=Verb.UNDO, revision=body.revision or "")
    return _shown(await rollouts.order_rollout(ctx, caller, workload_kind(kind), name, order)).to_json()


@router.post("/{kind}/{name}/abort", operation_id="AbortRollout", responses=SHAPE)
async def abort_rollout_route(ctx: Ctx, caller: Caller, kind: str, name: str, body: RolloutIn) -> Any:
    """Let the active revision keep all requests: without the canary, without what is on its way."""
    order = rollouts.Order(verb=Verb.ABORT)
    return _shown(await rollouts.order_rollout(ctx, caller, workload_kind(kind), name, order)).to_json()


def _shown(rollout: rollouts.Rollout) -> Rollout:
    resource, traffic = rollout.resource, rollout.resource.traffic
    return Rollout(
        kind=resource.kind.value,
        name=resource.name,
        status=resource.status.value if resource.status else "",
        served=_share(traffic.served),
        wanted=_share(traffic.wanted) if traffic.under_way else None,
        previous_active=traffic.previous,
        failed=rollout.failed,
        failure=rollout.failure or None,
        revisions=views.revisions_of(traffic, rollout.revisions),
    )


def _share(split: Split) -> Share:
    return Share(
        active=split.active,
        canary=split.canary,
        canary_percent=split.percent if split.canary is not None else None,
    )
