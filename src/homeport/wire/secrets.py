"""Stored secrets on the wire, under `/v0/homeport/secrets` (outside the contract). A value goes in and never comes
out."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from homeport.wire.body import Body, Reply

_HOST = r"^[A-Za-z0-9.\[\]:-]{1,255}$"  # with its port where the address has one
_KEYS_MOST = 64  # a credential has two or three parts


def _data(value: dict[str, str] | None) -> dict[str, str] | None:
    if value is not None and not 0 < len(value) <= _KEYS_MOST:
        raise ValueError(f"must have 1 to {_KEYS_MOST} keys")
    if value and not all(0 < len(key) <= 128 for key in value):
        raise ValueError("must have keys of 1 to 128 characters")
    return value


class SecretIn(Body):
    """Either `value` or `data`. A secret with a `host` is sent to no other one."""

    value: Annotated[str | None, Field(min_length=1)] = None
    data: Annotated[dict[str, str] | None, AfterValidator(_data)] = None
    host: Annotated[str | None, Field(pattern=_HOST)] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "SecretIn":
        if (self.value is None) == (self.data is None):
            raise ValueError("must have either value, a string, or data, an object of strings")
        return self


class Secret(Reply):
    """What is known of a stored secret."""

    name: str
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
