"""Workspaces, service accounts and API keys on the wire (public contract): flat objects, partly in snake_case."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from homeport.wire.body import Body, Reply

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_DAY_S = 86400


def _plain(value: str | None) -> str | None:
    if value and _CONTROLS.search(value):
        raise ValueError("must have no control characters")
    return value


Label = Annotated[str, Field(min_length=1, max_length=63), AfterValidator(_plain)]
Description = Annotated[str, Field(max_length=1024), AfterValidator(_plain)]
AccountRole = Literal["admin", "member"]


class ServiceAccountUpdate(Body):
    """What is absent stays. `role` is an addition of ours; the contract sets roles elsewhere."""

    model_config = ConfigDict(alias_generator=None)

    name: Label | None = None
    description: Description | None = None
    role: AccountRole | None = None


class ServiceAccountCreation(ServiceAccountUpdate):
    name: Label


class ServiceAccount(Reply):
    model_config = ConfigDict(alias_generator=None)

    client_id: str
    name: str
    description: str
    role: AccountRole
    created_at: str
    updated_at: str


class CreatedServiceAccount(ServiceAccount):
    """The only answer that shows the secret."""

    client_secret: str


class ApiKeyCreation(Body):
    """`expires_in` such as `30d`, `24h` or `1w`; absent means never."""

    model_config = ConfigDict(alias_generator=None)

    name: Annotated[str, Field(max_length=63), AfterValidator(_plain)] | None = None
    expires_in: str | None = None


class ApiKey(Reply):
    """`api_key` is the key itself, shown once. The contract mixes its styles here."""

    id: str
    name: str
    sub: str
    sub_type: Annotated[str, Field(alias="sub_type")]
    created_at: str
    updated_at: str
    created_by: str
    updated_by: str
    expires_in: Annotated[str | None, Field(alias="expires_in")] = None
    api_key: str | None = None


class Token(Reply):
    """`expires_in` in seconds. `refresh_token` is empty: clients look for it, and there is none. `scope` answers one
    that was asked for."""

    model_config = ConfigDict(alias_generator=None)

    access_token: str
    refresh_token: str
    expires_in: int
    token_type: str
    scope: str | None = None


class WorkspaceRuntime(Reply):
    generation: str


class Workspace(Reply):
    """`id` is the name: names are never given twice."""

    id: str
    name: str
    display_name: str
    created_at: str
    updated_at: str
    created_by: str
    updated_by: str
    status: Literal["created", "account_binded", "account_configured", "workspace_configured", "ready", "error"]
    runtime: WorkspaceRuntime
    labels: dict[str, str]
    resource_counts: dict[str, int] | None = None


def lifetime_text(seconds: int) -> str:
    """A key's lifetime as the contract writes it: in days where it is whole days."""
    if seconds % _DAY_S == 0:
        return f"{seconds // _DAY_S}d"
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"
