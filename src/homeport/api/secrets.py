"""Routes of stored secrets: set and deleted by admins, listed by members, never shown."""

from typing import Any

from fastapi import APIRouter

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.app.stored_secrets import SecretIntent, delete_secret, get_secret, list_secrets, put_secret
from homeport.core.clock import timestamp
from homeport.store.records import StoredSecret
from homeport.wire.pages import page_of
from homeport.wire.secrets import Secret, SecretIn

router = APIRouter(prefix="/v0/homeport/secrets", tags=["homeport"], route_class=JsonRoute)
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Secret}}


@router.get("", operation_id="ListSecrets")
async def list_secrets_route(ctx: Ctx, caller: Caller) -> Any:
    """Names and dates, all of them at once."""
    found = await list_secrets(ctx, caller)
    return page_of([_shown(secret) for secret in found], "", len(found)).to_json()


@router.get("/{name}", operation_id="GetSecret", responses=SHAPE)
async def get_secret_route(ctx: Ctx, caller: Caller, name: str) -> Any:
    return _shown(await get_secret(ctx, caller, name)).to_json()


@router.put("/{name}", operation_id="PutSecret", responses=SHAPE)
async def put_secret_route(ctx: Ctx, caller: Caller, name: str, body: SecretIn) -> Any:
    """Store or replace."""
    intent = SecretIntent(value=body.value, data=body.data, host=body.host)
    return _shown(await put_secret(ctx, caller, name, intent)).to_json()


@router.delete("/{name}", operation_id="DeleteSecret", responses=SHAPE)
async def delete_secret_route(ctx: Ctx, caller: Caller, name: str) -> Any:
    return _shown(await delete_secret(ctx, caller, name)).to_json()


def _shown(secret: StoredSecret) -> Secret:
    return Secret(name=secret.name, **when_and_by_whom(secret))


def when_and_by_whom(secret: StoredSecret) -> dict[str, str]:
    """What is said of everything that is stored so."""
    return {
        "created_at": timestamp(secret.created_at),
        "created_by": secret.created_by,
        "updated_at": timestamp(secret.updated_at),
        "updated_by": secret.updated_by,
    }
