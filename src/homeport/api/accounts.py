"""Routes of service accounts and their API keys (public contract)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.app.accounts import (
    AccountIntent,
    create_account,
    create_key,
    delete_account,
    list_accounts,
    list_keys,
    revoke_key,
    update_account,
)
from homeport.core.clock import timestamp
from homeport.identity.principals import Role
from homeport.store import records
from homeport.wire.identities import (
    ApiKey,
    ApiKeyCreation,
    CreatedServiceAccount,
    ServiceAccount,
    ServiceAccountCreation,
    ServiceAccountUpdate,
    lifetime_text,
)

router = APIRouter(prefix="/v0/service_accounts", tags=["service_accounts"], route_class=JsonRoute)
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": ServiceAccount}}
ClientId = Annotated[str, Path(alias="clientId")]


@router.get("", operation_id="GetWorkspaceServiceAccounts", responses={200: {"model": list[ServiceAccount]}})
async def list_accounts_route(ctx: Ctx, caller: Caller) -> Any:
    return [_account_of(account) for account in await list_accounts(ctx, caller)]


@router.post("", operation_id="CreateWorkspaceServiceAccount", responses={200: {"model": CreatedServiceAccount}})
async def create_account_route(ctx: Ctx, caller: Caller, body: ServiceAccountCreation) -> Any:
    account, secret = await create_account(ctx, caller, body.name, _intent_of(body))
    return {**_account_of(account), "client_secret": secret}


@router.put("/{clientId}", operation_id="UpdateWorkspaceServiceAccount", responses=SHAPE)
async def update_account_route(ctx: Ctx, caller: Caller, client_id: ClientId, body: ServiceAccountUpdate) -> Any:
    return _account_of(await update_account(ctx, caller, client_id, _intent_of(body)))


@router.delete("/{clientId}", operation_id="DeleteWorkspaceServiceAccount", responses=SHAPE)
async def delete_account_route(ctx: Ctx, caller: Caller, client_id: ClientId) -> Any:
    return _account_of(await delete_account(ctx, caller, client_id))


@router.get(
    "/{clientId}/api_keys", operation_id="ListApiKeysForServiceAccount", responses={200: {"model": list[ApiKey]}}
)
async def list_keys_route(ctx: Ctx, caller: Caller, client_id: ClientId) -> Any:
    return [_key_of(key).to_json() for key in await list_keys(ctx, caller, client_id)]


@router.post("/{clientId}/api_keys", operation_id="CreateApiKeyForServiceAccount", responses={200: {"model": ApiKey}})
async def create_key_route(ctx: Ctx, caller: Caller, client_id: ClientId, body: ApiKeyCreation) -> Any:
    key, value = await create_key(ctx, caller, client_id, body.name or "", body.expires_in)
    return _key_of(key, value).to_json()


@router.delete("/{clientId}/api_keys/{apiKeyId}", operation_id="DeleteApiKeyForServiceAccount", response_class=Response)
async def revoke_key_route(
    ctx: Ctx, caller: Caller, client_id: ClientId, key_id: Annotated[str, Path(alias="apiKeyId")]
) -> Response:
    """200 without a body (public contract)."""
    await revoke_key(ctx, caller, client_id, key_id)
    return Response()


def _intent_of(body: ServiceAccountUpdate) -> AccountIntent:
    role = None if body.role is None else Role(body.role)
    return AccountIntent(name=body.name, description=body.description, role=role)


def _account_of(account: records.ServiceAccount) -> dict[str, Any]:
    return ServiceAccount(
        client_id=account.client_id,
        name=account.name,
        description=account.description,
        role="admin" if account.role is Role.ADMIN else "member",
        created_at=timestamp(account.created_at),
        updated_at=timestamp(account.updated_at),
    ).to_json()


def _key_of(key: records.ApiKey, value: str | None = None) -> ApiKey:
    """A key never changes: its change is its making."""
    made = timestamp(key.created_at)
    lifetime = None if key.expires_at is None else lifetime_text(int((key.expires_at - key.created_at).total_seconds()))
    return ApiKey(
        id=key.jti,
        name=key.name,
        sub=key.client_id,
        sub_type="service_account",
        created_at=made,
        updated_at=made,
        created_by=key.created_by,
        updated_by=key.created_by,
        expires_in=lifetime,
        api_key=value,
    )
