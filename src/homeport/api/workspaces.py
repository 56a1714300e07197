"""Routes of workspaces (public contract): they can be read. Making and changing them is not in this version."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from homeport.api.dependencies import Caller, Ctx
from homeport.app.workspaces import get_workspace, list_workspaces
from homeport.core.clock import timestamp
from homeport.core.errors import NotFound
from homeport.store import records
from homeport.wire.identities import Workspace, WorkspaceRuntime

router = APIRouter(prefix="/v0/workspaces", tags=["workspaces"])


@router.get("", operation_id="ListWorkspaces", responses={200: {"model": list[Workspace]}})
async def list_workspaces_route(ctx: Ctx, caller: Caller) -> Any:
    return [_workspace_of(workspace).to_json() for workspace in await list_workspaces(ctx, caller)]


@router.get("/{workspaceName}", operation_id="GetWorkspace", responses={200: {"model": Workspace}})
async def get_workspace_route(
    ctx: Ctx,
    caller: Caller,
    name: Annotated[str, Path(alias="workspaceName")],
    count: Annotated[bool, Query(alias="countResources")] = False,
) -> Any:
    workspace, counts = await get_workspace(ctx, caller, name, count=count)
    return _workspace_of(workspace, counts).to_json()


@router.post("", include_in_schema=False)
@router.post("/availability", include_in_schema=False)
@router.put("/{workspaceName}", include_in_schema=False)
@router.delete("/{workspaceName}", include_in_schema=False)
@router.delete("/{workspaceName}/leave", include_in_schema=False)
async def change_workspace_route(caller: Caller) -> None:
    raise NotFound("Making and changing workspaces is not served by this version.")


def _workspace_of(workspace: records.Workspace, counts: dict[str, int] | None = None) -> Workspace:
    made = timestamp(workspace.created_at)
    return Workspace(
        id=workspace.name,
        name=workspace.name,
        display_name=workspace.display_name,
        created_at=made,
        updated_at=made,
        created_by=workspace.created_by,
        updated_by=workspace.created_by,
        status="ready",
        runtime=WorkspaceRuntime(generation="mk3"),
        labels={},
        resource_counts=counts,
    )
