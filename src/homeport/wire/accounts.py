"""Workspaces, service accounts, keys and tokens on the wire (contract §2.11, §2.13, §1.7). Service accounts and token
answers are snake_case and flat, as the contract has them."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from homeport.core.limits import DISPLAY_NAME_LENGTH
from homeport.wire.body import Body, Reply

_NAME_LENGTH = 128
_SECRET_LENGTH = 8192


class Workspace(Reply):
    name: str
    created_at: str
    created_by: str
    display_name: str | None = None
    status: str = "ready"


class ServiceAccountIn(Body):
    """`role` is an addition of the public SDKs to the contract; `member` when absent."""

    model_config = ConfigDict(alias_generator=None)

    name: Annotated[str, Field(min_length=1, max_length=_NAME_LENGTH)]
    description: Annotated[str | None, Field(max_length=1024)] = None
    role: Literal["admin", "member"] | None = None


class ServiceAccount(Reply):
    """`client_secret` in the answer to its creation only."""

    model_config = ConfigDict(alias_generator=None)

    client_id: str
    name: str
    description: str
    created_at: str
    updated_at: str
    client_secret: str | None = None


class ApiKeyIn(Body):
    """`expires_in` like `30d`; never when absent. `scopes` is an addition of ours: what the key is narrowed to."""

    model_config = ConfigDict(alias_generator=None)

    name: Annotated[str | None, Field(max_length=DISPLAY_NAME_LENGTH)] = None
    expires_in: Annotated[str | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    scopes: list[str] | None = None


class ApiKey(Reply):
    """`api_key`, the whole value, in the answer to its creation only. Mixed case, as the contract has it."""

    id: str
    name: str
    created_at: str
    created_by: str
    sub: str
    sub_type: str = Field(default="service_account", alias="sub_type")
    expires_in: str | None = Field(default=None, alias="expires_in")
    api_key: str | None = None


class TokenIn(Body):
    """The body of `/oauth/token`; client id and secret may come in the Authorization header instead."""

    model_config = ConfigDict(alias_generator=None)

    grant_type: Annotated[str | None, Field(max_length=64)] = None
    client_id: Annotated[str | None, Field(max_length=_SECRET_LENGTH)] = None
    client_secret: Annotated[str | None, Field(max_length=_SECRET_LENGTH)] = None
    refresh_token: Annotated[str | None, Field(max_length=_SECRET_LENGTH)] = None


class Token(Reply):
    model_config = ConfigDict(alias_generator=None)

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None = None
