"""What the routes of workloads share: the upload slot, the answer, the list, deletion and revisions."""

from typing import Annotated, Any

from fastapi import Query, Response

from homeport.api.bodies import UPLOADS
from homeport.api.dependencies import ListParameters
from homeport.api.ignored import tell_ignored
from homeport.api.listing import listed
from homeport.api.patience import still_building
from homeport.api.views import revisions_of, workload_of
from homeport.app.callback_secrets import shown
from homeport.app.context import Context
from homeport.app.deployments import Deployment, delete_workload
from homeport.app.resources import get_resource
from homeport.app.revisions import list_revisions
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require

Upload = Annotated[bool, Query(description="Answer with an address for the source archive.")]


def deployed(context: Context, response: Response, deployment: Deployment) -> dict[str, Any]:
    """The answer to a deployment. Where an archive is awaited, its address is in the contract's header."""
    tell_ignored(response, deployment.ignored)
    if deployment.upload_token is not None:
        response.headers["X-Blaxel-Upload-Url"] = f"{context.base_url}{UPLOADS}/{deployment.upload_token}"
    return shown(workload_of(context, deployment.resource, deployment.events).to_json(), deployment.fresh)


async def get_workload(
    context: Context, caller: Principal, kind: Kind, name: str, *, show_secrets: bool, watches_builds: bool
) -> dict[str, Any]:
    if show_secrets:
        require(caller, "admin")  # the role and, of a narrowed key, the scope (public contract)
    resource, events = await get_resource(context, caller, kind, name)
    if watches_builds:
        resource = still_building(resource, events, context.clock.now())
    return workload_of(context, resource, events, secrets=show_secrets).to_json()


async def list_workloads(context: Context, caller: Principal, kind: Kind, listing: ListParameters) -> Any:
    return await listed(context, caller, kind, listing, lambda resource: workload_of(context, resource))


async def deleted(context: Context, caller: Principal, kind: Kind, name: str) -> dict[str, Any]:
    resource, events = await delete_workload(context, caller, kind, name)
    return workload_of(context, resource, events).to_json()


async def revisions(context: Context, caller: Principal, kind: Kind, name: str) -> list[dict[str, Any]]:
    return [item.to_json() for item in revisions_of(*await list_revisions(context, caller, kind, name))]
