"""Routes of functions, which are MCP servers (public contract)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx, StatusListing
from homeport.api.naming import intent_of, same_name
from homeport.api.patience import WatchesBuilds
from homeport.api.workloads import Upload, deleted, deployed, get_workload, list_workloads, revisions
from homeport.app.deployments import create_workload, update_workload
from homeport.core.ids import Kind
from homeport.wire.deployments import RevisionMetadata
from homeport.wire.functions import Function, FunctionIn, FunctionList

KIND = Kind.FUNCTION
router = APIRouter(prefix="/v0/functions", tags=["functions"], route_class=JsonRoute)
Name = Annotated[str, Path(alias="functionName")]
REVISIONS: dict[int | str, dict[str, Any]] = {200: {"model": list[RevisionMetadata]}}
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Function}}


@router.get("", operation_id="ListFunctions", responses={200: {"model": FunctionList}})
async def list_functions_route(ctx: Ctx, caller: Caller, listing: StatusListing) -> Any:
    return await list_workloads(ctx, caller, KIND, listing)


@router.post("", operation_id="CreateFunction", responses=SHAPE)
async def create_function_route(
    ctx: Ctx, caller: Caller, body: FunctionIn, response: Response, upload: Upload = False
) -> Any:
    deployment = await create_workload(ctx, caller, KIND, intent_of(body), upload=upload)
    return deployed(ctx, response, deployment)


@router.get("/{functionName}", operation_id="GetFunction", responses=SHAPE)
async def get_function_route(
    ctx: Ctx, caller: Caller, watches_builds: WatchesBuilds, name: Name, show_secrets: bool = False
) -> Any:
    return await get_workload(ctx, caller, KIND, name, show_secrets=show_secrets, watches_builds=watches_builds)


@router.put("/{functionName}", operation_id="UpdateFunction", responses=SHAPE)
async def update_function_route(
    ctx: Ctx, caller: Caller, name: Name, body: FunctionIn, response: Response, upload: Upload = False
) -> Any:
    intent = same_name(intent_of(body), name)
    return deployed(ctx, response, await update_workload(ctx, caller, KIND, intent, upload=upload))


@router.delete("/{functionName}", operation_id="DeleteFunction", responses=SHAPE)
async def delete_function_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await deleted(ctx, caller, KIND, name)


@router.get("/{functionName}/revisions", operation_id="ListFunctionRevisions", responses=REVISIONS)
async def list_function_revisions_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await revisions(ctx, caller, KIND, name)
