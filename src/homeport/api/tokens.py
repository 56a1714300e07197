"""`POST /oauth/token` for client credentials: how a workload's program gets its access tokens."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from fastapi.responses import JSONResponse

from homeport.api.dependencies import Ctx
from homeport.app.authentication import issue_token
from homeport.core.errors import Invalid

router = APIRouter(tags=["oauth"])


@router.post("/v0/oauth/token")
@router.post("/oauth/token", include_in_schema=False)  # some public clients leave out /v0
async def create_token(
    ctx: Ctx, body: Annotated[dict[str, Any], Body()], authorization: Annotated[str | None, Header()] = None
) -> JSONResponse:
    """An access token for two hours. The client's id and secret come as HTTP Basic or in the body (contract §1.7)."""
    if body.get("grant_type") != "client_credentials":
        raise Invalid("grant_type", 'must be "client_credentials"', value=body.get("grant_type"))
    client_id, secret = _client(authorization, body)
    token, lifetime_s = await issue_token(ctx, client_id, secret)
    answer = {"access_token": token, "refresh_token": "", "expires_in": lifetime_s, "token_type": "Bearer"}
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _client(authorization: str | None, body: dict[str, Any]) -> tuple[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Invalid("Authorization", "must be Basic with base64 of client id and secret") from error
        return client_id, secret
    said_id, said_secret = body.get("client_id"), body.get("client_secret")
    if not (isinstance(said_id, str) and isinstance(said_secret, str)):
        raise Invalid("client_secret", "send client_id and client_secret in the body or as HTTP Basic")
    return said_id, said_secret
