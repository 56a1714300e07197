"""Homeport's own routes about decisions: why something may run where, and what a change of a policy would do."""

from typing import Any

from fastapi import APIRouter

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.api.explanations import dry_run_of, explanation_of, policy_explanation_of
from homeport.app.dry_run import PolicyChange, dry_run_policy
from homeport.app.explain import explain_policy, explain_workload
from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import WORKLOADS, Kind
from homeport.wire.body import spec_dict
from homeport.wire.explanations import Explain, PolicyDryRun, PolicyDryRunIn

router = APIRouter(prefix="/v0/homeport", tags=["homeport"], route_class=JsonRoute)


@router.get("/explain/{kind}/{name}", operation_id="Explain", responses={200: {"model": Explain}})
async def explain_route(ctx: Ctx, caller: Caller, kind: str, name: str) -> Any:
    """Every step of the decision about an agent or a job, or what a policy does, as of now."""
    for known in (Kind.POLICY, *WORKLOADS):
        if kind in (known.value, known.plural):
            if known is Kind.POLICY:
                return policy_explanation_of(await explain_policy(ctx, caller, name)).to_json()
            return explanation_of(await explain_workload(ctx, caller, known, name)).to_json()
    raise NotFound(f"Nothing of kind {kind!r} can be explained; there are agents, functions, jobs and policies.")


@router.post("/policies/dry-run", operation_id="DryRunPolicy", responses={200: {"model": PolicyDryRun}})
async def dry_run_policy_route(ctx: Ctx, caller: Caller, body: PolicyDryRunIn) -> Any:
    """Which workloads a new or changed policy, or the deletion of one, would refuse or newly allow. Stores nothing."""
    return dry_run_of(await dry_run_policy(ctx, caller, _change(body))).to_json()


def _change(body: PolicyDryRunIn) -> PolicyChange:
    named = body.metadata.name if body.metadata is not None else body.name
    if named is None:
        raise Invalid("metadata", "is required, or name")
    if body.metadata is not None and body.name not in (None, named):
        raise Invalid("name", "must be metadata.name where both are given", value=body.name)
    if body.delete and body.attach:
        raise Invalid("attach", "must not be true when delete is")
    if body.spec is None and not body.delete:
        raise Invalid("spec", "is required unless delete is true")
    spec = None if body.delete or body.spec is None else spec_dict(body.spec)
    return PolicyChange(name=named, spec=spec, attach=bool(body.attach))
