"""Routes of jobs (public contract)."""

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
from homeport.wire.jobs import Job, JobIn, JobList

router = APIRouter(prefix="/v0/jobs", tags=["jobs"], route_class=JsonRoute)
Name = Annotated[str, Path(alias="jobId")]
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Job}}


@router.get("", operation_id="ListJobs", responses={200: {"model": JobList}})
async def list_jobs_route(ctx: Ctx, caller: Caller, listing: StatusListing) -> Any:
    return await list_workloads(ctx, caller, Kind.JOB, listing)


@router.post("", operation_id="CreateJob", responses=SHAPE)
async def create_job_route(ctx: Ctx, caller: Caller, body: JobIn, response: Response, upload: Upload = False) -> Any:
    deployment = await create_workload(ctx, caller, Kind.JOB, intent_of(body), upload=upload)
    return deployed(ctx, response, deployment)


@router.get("/{jobId}", operation_id="GetJob", responses=SHAPE)
async def get_job_route(
    ctx: Ctx, caller: Caller, watches_builds: WatchesBuilds, name: Name, show_secrets: bool = False
) -> Any:
    return await get_workload(ctx, caller, Kind.JOB, name, show_secrets=show_secrets, watches_builds=watches_builds)


@router.put("/{jobId}", operation_id="UpdateJob", responses=SHAPE)
async def update_job_route(
    ctx: Ctx, caller: Caller, name: Name, body: JobIn, response: Response, upload: Upload = False
) -> Any:
    intent = same_name(intent_of(body), name)
    return deployed(ctx, response, await update_workload(ctx, caller, Kind.JOB, intent, upload=upload))


@router.delete("/{jobId}", operation_id="DeleteJob", responses=SHAPE)
async def delete_job_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await deleted(ctx, caller, Kind.JOB, name)


@router.get("/{jobId}/revisions", operation_id="ListJobRevisions", responses={200: {"model": list[RevisionMetadata]}})
async def list_job_revisions_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await revisions(ctx, caller, Kind.JOB, name)
