"""Reads values out of stored specs and manifests, with bounds, and says by path what is wrong.

Called by the domain packages (policy, jobs, workloads), whose input is the contract's object as the caller sent it.
It does not know any kind and keeps no unknown key: whoever reads a spec takes what it understands and leaves the rest.
An explicit null counts as absent everywhere, because the public SDKs send nulls for what they clear.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.errors import Invalid

_DURATION = re.compile(r"(\d{1,9})(s|m|h|d|w)", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WORD_BYTES = 128 * 1024 - 1  # the kernel takes no longer argument
_TEXT_LENGTH = 1024  # no single-line setting of the contract comes near


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The whole numbers from `low` to `high`, both included."""

    low: int
    high: int


def read_object(spec: Mapping[str, Any], key: str, field: str) -> Mapping[str, Any]:
    """The object at `key`, empty if absent. `field` is the whole path, for the error."""
    value = spec.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(field, "must be an object", value=value)
    return value


def read_list(spec: Mapping[str, Any], key: str, field: str, most: int) -> list[Any]:
    """The list at `key`, empty if absent, of at most `most` elements."""
    value = spec.get(key)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise Invalid(field, "must be a list", value=value)
    if len(value) > most:
        raise Invalid(field, f"must have at most {most} elements", value=len(value))
    return list(value)


def read_text(spec: Mapping[str, Any], key: str, field: str) -> str | None:
    """The text at `key`, without surrounding blanks; None if absent or empty."""
    value = spec.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid(field, "must be a string", value=value)
    if len(value) > _TEXT_LENGTH:
        raise Invalid(field, f"must have at most {_TEXT_LENGTH} characters")
    return value.strip() or None


def read_bool(spec: Mapping[str, Any], key: str, field: str, default: bool) -> bool:
    value = spec.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Invalid(field, "must be true or false", value=value)
    return value


def read_int(spec: Mapping[str, Any], key: str, field: str, bounds: Bounds) -> int | None:
    """The whole number at `key`, None if absent. True and false are no numbers."""
    value = spec.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(field, "must be a whole number", value=value)
    if not bounds.low <= value <= bounds.high:
        raise Invalid(field, f"must be from {bounds.low} to {bounds.high}", value=value)
    return value


def read_names(spec: Mapping[str, Any], key: str, field: str, most: int = 100) -> tuple[str, ...]:
    """The names at `key`, each once, in the order given. At most `most`: no caller attaches more policies."""
    names: list[str] = []
    for index, value in enumerate(read_list(spec, key, field, most)):
        if not isinstance(value, str) or not value.strip():
            raise Invalid(f"{field}[{index}]", "must be a name", value=value)
        names.append(value.strip())
    return tuple(dict.fromkeys(names))


def read_texts(spec: Mapping[str, Any], key: str, field: str, most: int = 1000) -> tuple[str, ...]:
    """The texts at `key` as they are, such as the words of a command; none if absent."""
    texts = read_list(spec, key, field, most)
    for index, value in enumerate(texts):
        if not isinstance(value, str) or "\0" in value:
            raise Invalid(f"{field}[{index}]", "must be a string without NUL")
        if len(value.encode(errors="surrogatepass")) > _WORD_BYTES:
            raise Invalid(f"{field}[{index}]", f"must have at most {_WORD_BYTES} bytes")
    return tuple(texts)


def parse_duration(value: object, field: str) -> int:
    """Seconds of `value`: a whole number of seconds, or text such as `90s`, `15m`, `24h`, `30d`, `1w`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = value.strip()
        if text.isdecimal() and text.isascii() and len(text) <= 9:
            return int(text)
        if found := _DURATION.fullmatch(text):
            return int(found[1]) * _UNIT_S[found[2]]
    raise Invalid(field, "must be a duration such as 90s, 15m, 24h, 30d or 1w", value=value)


def duration_text(seconds: int) -> str:
    """`seconds` in the largest unit that divides them: `1h`, `30m`, `90s`; the contract's duration strings."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def is_below(path: str, above: str) -> bool:
    """Whether `path` is `above` or below it."""
    return path == above or path.startswith(f"{above}/")
