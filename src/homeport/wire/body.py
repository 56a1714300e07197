"""What every body has in common: camelCase on the wire, no nulls out, nulls and unknown fields tolerated in.

`Body` reads requests and ignores what it does not know, read-only fields included: the public SDKs update by reading
an object, changing it and sending all of it back. `Kept` is for specs, which are stored as they were sent: unknown
fields stay. `Reply` writes responses.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

# Objects of the caller's own below these keys are kept as they are, nulls included: they are a program's arguments.
_FREE_FORM = frozenset({"tasks"})


class Body(BaseModel):
    """A request's object. Types are strict: the text "3" is no number, so that a mistake is named, not guessed at."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", strict=True)


class Kept(Body):
    """A request's object whose unknown fields are kept."""

    model_config = ConfigDict(extra="allow")


class Reply(BaseModel):
    """A response's object. `to_json` omits what is None: the public Python SDK fails on a null where it expects an
    enum or an object."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def spec_dict(spec: Kept) -> dict[str, Any]:
    """`spec` as the caller sent it, for the store: unknown fields kept, nulls dropped, nothing added."""
    kept = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {key: _without_nulls(key, value) for key, value in kept.items() if value is not None}


def _without_nulls(key: str, value: Any) -> Any:
    if key in _FREE_FORM:
        return value
    if isinstance(value, Mapping):
        return {inner: _without_nulls(inner, item) for inner, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls("", item) for item in value]
    return value
