"""Routes of policies (public contract)."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx, Listing
from homeport.api.ignored import tell_ignored
from homeport.api.listing import listed
from homeport.api.naming import intent_of, same_name
from homeport.api.views import policy_of
from homeport.app.fields import ignored_fields
from homeport.app.policies import count_usages, create_policy, delete_policy, policy_usages, update_policy
from homeport.app.resources import get_resource
from homeport.core.ids import Kind
from homeport.store.records import Resource
from homeport.wire.policies import Policy, PolicyIn, PolicyList, PolicyUsages

router = APIRouter(prefix="/v0/policies", tags=["policies"], route_class=JsonRoute)
Name = Annotated[str, Path(alias="policyName")]
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Policy}}


@router.get("", operation_id="ListPolicies", responses={200: {"model": PolicyList}})
async def list_policies_route(ctx: Ctx, caller: Caller, listing: Listing) -> Any:
    """The policies of the workspace with how many workloads carry each."""
    usages: dict[str, dict[Kind, int]] = {}

    async def count(found: Sequence[Resource]) -> None:
        usages.update(await count_usages(ctx, caller, [policy.name for policy in found]))

    def shown(resource: Resource) -> Policy:
        return policy_of(ctx, resource, usages.get(resource.name, {}))

    return await listed(ctx, caller, Kind.POLICY, listing, shown, count)


@router.post("", operation_id="CreatePolicy", responses=SHAPE)
async def create_policy_route(ctx: Ctx, caller: Caller, body: PolicyIn, response: Response) -> Any:
    policy = await create_policy(ctx, caller, intent_of(body))
    tell_ignored(response, ignored_fields(Kind.POLICY, policy.spec))
    return policy_of(ctx, policy).to_json()


@router.get("/{policyName}", operation_id="GetPolicy", responses=SHAPE)
async def get_policy_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    resource, _ = await get_resource(ctx, caller, Kind.POLICY, name)
    return policy_of(ctx, resource).to_json()


@router.put("/{policyName}", operation_id="UpdatePolicy", responses=SHAPE)
async def update_policy_route(ctx: Ctx, caller: Caller, name: Name, body: PolicyIn, response: Response) -> Any:
    policy = await update_policy(ctx, caller, same_name(intent_of(body), name))
    tell_ignored(response, ignored_fields(Kind.POLICY, policy.spec))
    return policy_of(ctx, policy).to_json()


@router.delete("/{policyName}", operation_id="DeletePolicy", responses=SHAPE)
async def delete_policy_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return policy_of(ctx, await delete_policy(ctx, caller, name)).to_json()


@router.get("/{policyName}/usages", operation_id="GetPolicyUsages", responses={200: {"model": PolicyUsages}})
async def policy_usages_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    usages = await policy_usages(ctx, caller, name)
    return PolicyUsages(**{kind.plural: names for kind, names in usages.items()}).to_json()
