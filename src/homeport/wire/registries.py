"""Registry logins on the wire, under `/v0/homeport/registries` (outside the contract). A password goes in and never
comes out."""

from typing import Annotated

from pydantic import AfterValidator, Field

from homeport.core.logins import CONFIG_BYTES
from homeport.wire.body import Body, Reply


def _username(value: str) -> str:
    if not 0 < len(value) <= 255 or ":" in value or not value.isprintable():  # as headers of logins have it
        raise ValueError("must be 1 to 255 printable characters without a colon")
    return value


class RegistryLoginIn(Body):
    """A token stands where the password does."""

    username: Annotated[str, AfterValidator(_username)]
    password: Annotated[str, Field(min_length=1, max_length=CONFIG_BYTES)]


class RegistryLoginOut(Reply):
    """What is known of a login."""

    registry: str
    username: str
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
