"""What clients of OAuth find out by themselves: where tokens are given, and the keys that verify them."""

from typing import Any

from fastapi import APIRouter

from homeport.api.dependencies import Ctx
from homeport.identity.keys import ALGORITHM, ISSUER
from homeport.identity.roles import SCOPES

router = APIRouter(tags=["oauth"])


@router.get("/v0/.well-known/openid-configuration", operation_id="GetOpenIdConfiguration")
@router.get("/.well-known/openid-configuration", include_in_schema=False)
async def openid_configuration(ctx: Ctx) -> dict[str, Any]:
    """`issuer` is what the tokens say, so that whoever verifies them can compare. There is no page to sign in at."""
    base = f"{ctx.base_url}/v0"
    return {
        "issuer": ISSUER,
        "token_endpoint": f"{base}/oauth/token",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "scopes_supported": sorted(SCOPES),
    }


@router.get("/v0/.well-known/jwks.json", operation_id="GetJwks")
@router.get("/.well-known/jwks.json", include_in_schema=False)
async def jwks(ctx: Ctx) -> dict[str, Any]:
    return ctx.keys.public_jwks()
