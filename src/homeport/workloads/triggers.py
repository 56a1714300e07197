"""The triggers of a workload that serves requests: read from its spec, and given ids (pure).

Called where an order is checked and where routes are made. What an asynchronous call or a schedule does with its own
settings (`callbackUrl`, `schedule`) is not read here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.spec import Bounds, parse_duration, read_bool, read_int, read_list, read_object, read_text

TRIGGERS_MOST = 100  # each path is a route that requests are compared with
RETRY = Bounds(low=0, high=100)
TIMEOUT_S = Bounds(low=1, high=900)  # public contract
PATH_LENGTH = 200
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # it travels in a header
_PART = re.compile(r"[A-Za-z0-9._~-]+")


class TriggerType(StrEnum):
    """How a workload is called: and answers, later in the background, or by the clock."""

    HTTP = "http"
    HTTP_ASYNC = "http-async"
    CRON = "cron"


class Access(StrEnum):
    """Who may call a path: anybody, or whoever has a key of the workspace."""

    PUBLIC = "public"
    PRIVATE = "private"


_ACCESS = {"public": Access.PUBLIC, "private": Access.PRIVATE, "blaxel": Access.PRIVATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One entry of `spec.triggers`. `path` has no slash at its ends and is empty where none is given; `access`, `retry`
    and `timeout_s` are None where nothing is said. `field` is where it stands, for errors."""

    id: str
    type: TriggerType
    enabled: bool = True
    path: str = ""
    access: Access | None = None
    retry: int | None = None
    timeout_s: int | None = None
    field: str = "spec.triggers"


def read_triggers(spec: Mapping[str, Any]) -> tuple[Trigger, ...]:
    """All of them, with ids that are unique. Raises `Invalid` with the path of what is wrong."""
    items = read_list(spec, "triggers", "spec.triggers", TRIGGERS_MOST)
    fields = [f"spec.triggers[{index}]" for index in range(len(items))]
    ids = [_id(item, field) for item, field in zip(items, fields, strict=True)]
    types = [_type(item, field) for item, field in zip(items, fields, strict=True)]
    found = zip(items, fields, _unique(ids, types), types, strict=True)
    return tuple(_read(item, field, ident, kind) for item, field, ident, kind in found)


def with_trigger_ids(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with an id for each trigger, made from its type and place where there is none or another has it too: an
    order that is sent again gets the same ones. Raises as `read_triggers`."""
    triggers = read_triggers(spec)
    if not triggers or [known.id for known in triggers] == [item.get("id") for item in spec["triggers"]]:
        return spec
    named = [{**item, "id": known.id} for item, known in zip(spec["triggers"], triggers, strict=True)]
    return {**spec, "triggers": named}


def _id(item: object, field: str) -> str:
    if not isinstance(item, Mapping):
        raise Invalid(field, "must be an object", value=item)
    ident = read_text(item, "id", f"{field}.id") or ""
    if ident and not _ID.fullmatch(ident):
        rule = "must be 1 to 63 letters, digits, dots, hyphens and underscores, beginning with a letter or digit"
        raise Invalid(f"{field}.id", rule, value=ident)
    return ident


def _unique(ids: list[str], types: list[TriggerType]) -> list[str]:
    """The first that names itself so keeps its name; the others get one that nobody has."""
    found = ["" if ident in ids[:index] else ident for index, ident in enumerate(ids)]
    for index, (ident, kind) in enumerate(zip(ids, types, strict=True)):
        numbers = count(2 if ident else 1)
        while not found[index]:
            wanted = f"{(ident or kind)[:50]}-{next(numbers)}"
            found[index] = "" if wanted in found else wanted
    return found


def _read(item: Mapping[str, Any], field: str, ident: str, kind: TriggerType) -> Trigger:
    at = f"{field}.configuration"
    settings = read_object(item, "configuration", at)
    return Trigger(
        id=ident,
        type=kind,
        enabled=read_bool(item, "enabled", f"{field}.enabled", True),
        path=_path(settings, f"{at}.path"),
        access=_access(settings, f"{at}.authenticationType"),
        retry=read_int(settings, "retry", f"{at}.retry", RETRY),
        timeout_s=_timeout_s(settings, f"{at}.timeout"),
        field=field,
    )


def _type(item: Mapping[str, Any], field: str) -> TriggerType:
    named = read_text(item, "type", f"{field}.type")
    if named is None:
        settings = read_object(item, "configuration", f"{field}.configuration")
        return TriggerType.CRON if settings.get("schedule") else TriggerType.HTTP
    try:
        return TriggerType(named)
    except ValueError as exc:
        raise Invalid(f"{field}.type", f"must be one of {', '.join(TriggerType)}", value=named) from exc


def _access(settings: Mapping[str, Any], field: str) -> Access | None:
    named = read_text(settings, "authenticationType", field)
    if named is None:
        return None
    if named not in _ACCESS:
        raise Invalid(field, f"must be one of {', '.join(_ACCESS)}", value=named)
    return _ACCESS[named]


def _timeout_s(settings: Mapping[str, Any], field: str) -> int | None:
    """A number of seconds, or text such as `15m`, which the public command line copies from a manifest."""
    if settings.get("timeout") is None:
        return None
    return read_int({"timeout": parse_duration(settings["timeout"], field)}, "timeout", field, TIMEOUT_S)


def _path(settings: Mapping[str, Any], field: str) -> str:
    """With or without slashes at its ends, which mean nothing."""
    named = read_text(settings, "path", field)
    if named is None:
        return ""
    path = named.strip("/")
    parts = path.split("/")
    plain = all(_PART.fullmatch(part) and part.strip(".") for part in parts)
    if not plain or len(path) > PATH_LENGTH:
        rule = (
            f"must be a path of at most {PATH_LENGTH} characters such as /webhook, its parts of letters, digits and "
            "any of . _ ~ -"
        )
        raise Invalid(field, rule, value=named)
    return path
