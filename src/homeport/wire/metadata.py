"""Metadata of every kind with an envelope (public contract), read and written."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from homeport.core.errors import Invalid
from homeport.core.ids import check_name
from homeport.core.limits import DISPLAY_NAME_LENGTH, EXTERNAL_ID_LENGTH
from homeport.wire.body import Body, Reply

_EXTERNAL_ID = re.compile(r"[A-Za-z0-9-]+")
_LABELS_MOST = 64  # the contract names no limit; each is searched by `q`
_LABEL_LENGTH = 256
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")  # no part of a text to read, and NUL is none that every database stores


def _name(value: str) -> str:
    try:
        return check_name(value)
    except Invalid as exc:
        raise ValueError(exc.rule) from exc


def _external_id(value: str | None) -> str | None:
    if value and not _EXTERNAL_ID.fullmatch(value):
        raise ValueError("must have only letters, digits and hyphens")
    return value


def _display_name(value: str | None) -> str | None:
    if value and _CONTROLS.search(value):
        raise ValueError("must have no control characters")
    return value


def _labels(value: dict[str, str] | None) -> dict[str, str] | None:
    if value and len(value) > _LABELS_MOST:
        raise ValueError(f"must have at most {_LABELS_MOST} labels")
    if value and any(len(text) > _LABEL_LENGTH for pair in value.items() for text in pair):
        raise ValueError(f"must have keys and values of at most {_LABEL_LENGTH} characters")
    if value and any(_CONTROLS.search(text) for pair in value.items() for text in pair):
        raise ValueError("must have keys and values without control characters")
    return value


def _drop_nulls(value: Any) -> Any:
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


Name = Annotated[str, AfterValidator(_name)]
Labels = Annotated[dict[str, str] | None, BeforeValidator(_drop_nulls), AfterValidator(_labels)]


class MetadataIn(Body):
    """What a caller may set. The rest of the contract's metadata is read-only and ignored here."""

    name: Name
    display_name: Annotated[str | None, Field(max_length=DISPLAY_NAME_LENGTH), AfterValidator(_display_name)] = None
    external_id: Annotated[str | None, Field(max_length=EXTERNAL_ID_LENGTH), AfterValidator(_external_id)] = None
    labels: Labels = None


class Metadata(Reply):
    """Times are RFC 3339 texts. `url` is where the workload answers; absent for policies."""

    name: str
    created_at: str
    updated_at: str
    created_by: str
    updated_by: str
    workspace: str
    display_name: str | None = None
    external_id: str | None = None
    labels: dict[str, str] | None = None
    url: str | None = None
