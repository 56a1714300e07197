"""`POST /oauth/token` for client credentials: how a workload's program gets its access tokens."""

import base64
import logging
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from homeport.api.bodies import content_type, parse_json
from homeport.api.dependencies import Ctx
from homeport.app.authentication import issue_token
from homeport.core.errors import Invalid
from homeport.wire.errors import TokenError
from homeport.wire.identities import Token

log = logging.getLogger(__name__)

router = APIRouter(tags=["oauth"])

GRANT = "client_credentials"
FORM = "application/x-www-form-urlencoded"  # what OAuth itself prescribes; the contract's clients send JSON
_NO_REFRESH = "No refresh tokens are given here: ask with the client's id and secret again."
PARAMETERS_MOST = 20  # a form has four that mean something
# The field that is wrong, and what OAuth calls such a request.
_OAUTH_ERRORS = {"grant_type": "unsupported_grant_type", "client_secret": "invalid_client", "scope": "invalid_scope"}
# Read by hand, because forms are read too: so the document is told.
_TEXT = {"type": "string"}
_SHAPE = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {**_TEXT, "enum": [GRANT]},
        "client_id": _TEXT,
        "client_secret": _TEXT,
        "scope": _TEXT,
    },
}
_BODY = {
    "requestBody": {"required": True, "content": {kind: {"schema": _SHAPE} for kind in ("application/json", FORM)}}
}


@router.post("/v0/oauth/token", operation_id="CreateToken", responses={200: {"model": Token}}, openapi_extra=_BODY)
@router.post("/oauth/token", include_in_schema=False)  # some public clients leave out /v0
async def create_token(
    ctx: Ctx, request: Request, authorization: Annotated[str | None, Header()] = None
) -> JSONResponse:
    """An access token for two hours. The client's id and secret come as HTTP Basic or in the body (public contract).
    `scope` narrows it, as OAuth has it: scopes with blanks between them."""
    try:
        parameters = await _parameters(request)
        if parameters.get("grant_type") != GRANT:
            hint = _NO_REFRESH if parameters.get("grant_type") == "refresh_token" else ""
            raise Invalid("grant_type", f'must be "{GRANT}"', value=parameters.get("grant_type"), hint=hint)
        client_id, secret = _client(authorization, parameters)
        asked = _scopes(parameters)
        token, lifetime_s, scopes = await issue_token(ctx, client_id, secret, asked)
    except Invalid as error:
        return _refused(error)
    scope = " ".join(scopes) if asked else None
    answer = Token(access_token=token, refresh_token="", expires_in=lifetime_s, token_type="Bearer", scope=scope)
    return JSONResponse(answer.to_json(), headers={"Cache-Control": "no-store"})


def _refused(error: Invalid) -> JSONResponse:
    """OAuth's own shape, and the contract's fields besides: 400 that names the parameter (public contract)."""
    log.info("a token was refused: %s", error.field)
    body = TokenError(
        code=error.status,
        error=_OAUTH_ERRORS.get(error.field, "invalid_request"),
        error_description=error.for_caller(),
        message=error.for_caller(),
    )
    return JSONResponse(body.model_dump(), status_code=error.status, headers={"Cache-Control": "no-store"})


async def _parameters(request: Request) -> Mapping[str, Any]:
    body, kind = await request.body(), content_type(request)
    if kind == FORM:
        try:
            return dict(parse_qsl(body.decode(), max_num_fields=PARAMETERS_MOST, errors="strict"))
        except ValueError as error:
            raise Invalid("body", "must be a form") from error
    if kind != "application/json":
        raise HTTPException(415, f"Content-Type must be application/json or {FORM}, not {kind[:80]!r}.")
    parameters = parse_json(body) if body else {}
    if not isinstance(parameters, dict):
        raise Invalid("body", "must be an object")
    return parameters


def _scopes(parameters: Mapping[str, Any]) -> list[str]:
    scope = parameters.get("scope")
    if not isinstance(scope, str | None):
        raise Invalid("scope", "must be a string", value=scope)
    return sorted(set((scope or "").split()))


def _client(authorization: str | None, parameters: Mapping[str, Any]) -> tuple[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError as error:  # no base64, no UTF-8, or no ASCII at all
            raise Invalid("client_secret", "must be HTTP Basic with base64 of client id and secret") from error
        return client_id, secret
    said_id, said_secret = parameters.get("client_id"), parameters.get("client_secret")
    if not (isinstance(said_id, str) and isinstance(said_secret, str)):
        raise Invalid("client_secret", "send client_id and client_secret in the body or as HTTP Basic")
    return said_id, said_secret
