"""Routes of the installation's own keys: looked at, exchanged and ended by admins."""

from typing import Any

from fastapi import APIRouter

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.app.sealing import rotate_sealing_key
from homeport.app.signing import list_signing_keys, retire_signing_key, rotate_signing_key
from homeport.core.clock import timestamp
from homeport.reconcile.signing import KnownKey
from homeport.wire.keys import RotationIn, SealingRotationOut, SigningKeyOut
from homeport.wire.pages import page_of

router = APIRouter(prefix="/v0/homeport", tags=["homeport"], route_class=JsonRoute)
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": SigningKeyOut}}


@router.get("/signing-keys", operation_id="ListSigningKeys")
async def list_signing_keys_route(ctx: Ctx, caller: Caller) -> Any:
    """All of them, the one that signs first."""
    return _page(await list_signing_keys(ctx, caller))


@router.post("/signing-keys", operation_id="RotateSigningKey")
async def rotate_signing_key_route(ctx: Ctx, caller: Caller, body: RotationIn) -> Any:
    """Have a new key sign; the answer is as that of the list."""
    return _page(await rotate_signing_key(ctx, caller, only=body.only))


@router.delete("/signing-keys/{keyId}", operation_id="RetireSigningKey", responses=SHAPE)
async def retire_signing_key_route(ctx: Ctx, caller: Caller, keyId: str, force: bool = False) -> Any:
    """End a key that signs no more. What is signed with it is void from the answer on."""
    return _shown(await retire_signing_key(ctx, caller, keyId, force=force)).to_json()


@router.post("/sealing-keys", operation_id="RotateSealingKey", responses={200: {"model": SealingRotationOut}})
async def rotate_sealing_key_route(ctx: Ctx, caller: Caller) -> Any:
    """Seal with a new key, and everything that is stored anew; the answer comes when that is done."""
    done = await rotate_sealing_key(ctx, caller)
    return SealingRotationOut(id=done.key, older=[*done.older], rows=done.rows).to_json()


def _page(found: list[KnownKey]) -> Any:
    return page_of([_shown(one) for one in found], "", len(found)).to_json()


def _shown(one: KnownKey) -> SigningKeyOut:
    made = timestamp(one.made_at) if one.made_at else None
    return SigningKeyOut(id=one.kid, created_at=made, signs=one.signs, needs=[*one.needs])
