"""Registry logins on the wire, under `/v0/homeport/registries` (outside the contract). A password goes in and never
comes out."""

from typing import Annotated

from pydantic import Field

from homeport.core.logins import CONFIG_BYTES
from homeport.wire.body import Body, Reply


class RegistryLoginIn(Body):
    """A token stands where the password does."""

    username: Annotated[str, Field(pattern=r"^[^:\x00-\x1f]{1,255}$")]  # as headers of logins have it
    password: Annotated[str, Field(min_length=1, max_length=CONFIG_BYTES)]


class RegistryLoginOut(Reply):
    """What is known of a login."""

    registry: str
    username: str
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
