"""Routes of agents (public contract)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx, StatusListing
from homeport.api.naming import intent_of, same_name
from homeport.api.patience import WatchesBuilds
from homeport.api.workloads import Upload, deleted, deployed, get_workload, list_workloads, revisions
from homeport.app.deployments import create_workload, update_workload
from homeport.core.ids import Kind
from homeport.wire.agents import Agent, AgentIn, AgentList
from homeport.wire.deployments import RevisionMetadata

router = APIRouter(prefix="/v0/agents", tags=["agents"], route_class=JsonRoute)
Name = Annotated[str, Path(alias="agentName")]
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Agent}}


@router.get("", operation_id="ListAgents", responses={200: {"model": AgentList}})
async def list_agents_route(ctx: Ctx, caller: Caller, listing: StatusListing) -> Any:
    return await list_workloads(ctx, caller, Kind.AGENT, listing)


@router.post("", operation_id="CreateAgent", responses=SHAPE)
async def create_agent_route(
    ctx: Ctx, caller: Caller, body: AgentIn, response: Response, upload: Upload = False
) -> Any:
    deployment = await create_workload(ctx, caller, Kind.AGENT, intent_of(body), upload=upload)
    return deployed(ctx, response, deployment)


@router.get("/{agentName}", operation_id="GetAgent", responses=SHAPE)
async def get_agent_route(
    ctx: Ctx, caller: Caller, watches_builds: WatchesBuilds, name: Name, show_secrets: bool = False
) -> Any:
    return await get_workload(ctx, caller, Kind.AGENT, name, show_secrets=show_secrets, watches_builds=watches_builds)


@router.put("/{agentName}", operation_id="UpdateAgent", responses=SHAPE)
async def update_agent_route(
    ctx: Ctx, caller: Caller, name: Name, body: AgentIn, response: Response, upload: Upload = False
) -> Any:
    intent = same_name(intent_of(body), name)
    return deployed(ctx, response, await update_workload(ctx, caller, Kind.AGENT, intent, upload=upload))


@router.delete("/{agentName}", operation_id="DeleteAgent", responses=SHAPE)
async def delete_agent_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await deleted(ctx, caller, Kind.AGENT, name)


@router.get(
    "/{agentName}/revisions", operation_id="ListAgentRevisions", responses={200: {"model": list[RevisionMetadata]}}
)
async def list_agent_revisions_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await revisions(ctx, caller, Kind.AGENT, name)
