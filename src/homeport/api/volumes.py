"""Routes of volumes (public contract)."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx, VolumeListing
from homeport.api.ignored import tell_ignored
from homeport.api.listing import listed
from homeport.api.naming import intent_of, same_name
from homeport.api.views import lite_volume_of, volume_of
from homeport.app.context import Context
from homeport.app.fields import ignored_fields
from homeport.app.resources import get_resource
from homeport.app.volumes import create_volume, delete_volume, holders_of, update_volume, volume_by_external_id
from homeport.core.ids import Kind
from homeport.store.records import Event, Resource
from homeport.wire.volumes import Volume, VolumeIn, VolumeList

router = APIRouter(prefix="/v0/volumes", tags=["volumes"], route_class=JsonRoute)
Name = Annotated[str, Path(alias="volumeName")]
ExternalId = Annotated[str, Path(alias="externalId")]
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Volume}}


@router.get("", operation_id="ListVolumes", responses={200: {"model": VolumeList}})
async def list_volumes_route(ctx: Ctx, caller: Caller, listing: VolumeListing) -> Any:
    holders: dict[str, str] = {}

    async def find(found: Sequence[Resource]) -> None:
        holders.update(await holders_of(ctx, found))

    return await listed(ctx, caller, Kind.VOLUME, listing, lambda one: lite_volume_of(one, holders.get(one.uid)), find)


@router.post("", operation_id="CreateVolume", responses=SHAPE)
async def create_volume_route(ctx: Ctx, caller: Caller, body: VolumeIn, response: Response) -> Any:
    created = await create_volume(ctx, caller, intent_of(body))
    tell_ignored(response, ignored_fields(Kind.VOLUME, created[0].spec))
    return await _shown(ctx, *created)


@router.get("/by-external-id/{externalId}", operation_id="GetVolumeByExternalId", responses=SHAPE)
async def get_volume_by_external_id_route(ctx: Ctx, caller: Caller, external_id: ExternalId) -> Any:
    return await _shown(ctx, *await volume_by_external_id(ctx, caller, external_id))


@router.get("/{volumeName}", operation_id="GetVolume", responses=SHAPE)
async def get_volume_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await _shown(ctx, *await get_resource(ctx, caller, Kind.VOLUME, name))


@router.put("/{volumeName}", operation_id="UpdateVolume", responses=SHAPE)
async def update_volume_route(ctx: Ctx, caller: Caller, name: Name, body: VolumeIn, response: Response) -> Any:
    changed = await update_volume(ctx, caller, same_name(intent_of(body), name))
    tell_ignored(response, ignored_fields(Kind.VOLUME, changed[0].spec))
    return await _shown(ctx, *changed)


@router.delete("/{volumeName}", operation_id="DeleteVolume", responses=SHAPE)
async def delete_volume_route(ctx: Ctx, caller: Caller, name: Name) -> Any:
    return await _shown(ctx, *await delete_volume(ctx, caller, name))


async def _shown(context: Context, volume: Resource, events: Sequence[Event]) -> dict[str, Any]:
    holders = await holders_of(context, [volume])
    return volume_of(context, volume, events, holders.get(volume.uid)).to_json()
