"""Routes of the registry logins of a workspace: set and deleted by admins, listed by members."""

from typing import Any

from fastapi import APIRouter

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.api.secrets import when_and_by_whom
from homeport.app.registries import RegistryLogin, delete_login, get_login, list_logins, put_login
from homeport.wire.pages import page_of
from homeport.wire.registries import RegistryLoginIn, RegistryLoginOut

router = APIRouter(prefix="/v0/homeport/registries", tags=["homeport"], route_class=JsonRoute)
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": RegistryLoginOut}}


@router.get("", operation_id="ListRegistryLogins")
async def list_logins_route(ctx: Ctx, caller: Caller) -> Any:
    """Registries, users and dates, all of them at once."""
    found = await list_logins(ctx, caller)
    return page_of([_shown(login) for login in found], "", len(found)).to_json()


@router.get("/{registry}", operation_id="GetRegistryLogin", responses=SHAPE)
async def get_login_route(ctx: Ctx, caller: Caller, registry: str) -> Any:
    return _shown(await get_login(ctx, caller, registry)).to_json()


@router.put("/{registry}", operation_id="PutRegistryLogin", responses=SHAPE)
async def put_login_route(ctx: Ctx, caller: Caller, registry: str, body: RegistryLoginIn) -> Any:
    """Store or replace; the registry is not asked."""
    return _shown(await put_login(ctx, caller, registry, body.username, body.password)).to_json()


@router.delete("/{registry}", operation_id="DeleteRegistryLogin", responses=SHAPE)
async def delete_login_route(ctx: Ctx, caller: Caller, registry: str) -> Any:
    return _shown(await delete_login(ctx, caller, registry)).to_json()


def _shown(login: RegistryLogin) -> RegistryLoginOut:
    return RegistryLoginOut(registry=login.registry, username=login.username, **when_and_by_whom(login.secret))
