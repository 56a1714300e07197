"""Pydantic's account of a bad body, in our words: which field, by path, and which rule it breaks.

Called by the API where it reads a body. `Invalid` repeats no value that may be a secret; of other fields only
short plain ones are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from homeport.core.errors import Invalid

_ALSO_MOST = 5  # further mistakes named in one answer; a caller mends a few at a time
_PART_LENGTH = 100  # of one name in a path; the contract's own are shorter

_OBJECT = "must be an object"
_TRIED = {"int": "int_", "float": "float_", "str": "string_type"}
_RULES = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "json_invalid": "must be valid JSON",
}


def problems(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Every (field path, rule) that the body breaks, in the order of the body's fields."""
    return [(_path(_location(item)), _rule(item)) for item in items]


def invalid_from(error: ValidationError) -> Invalid:
    """One `Invalid` for the first problem, with the others in its hint."""
    return invalid_from_items(error.errors(include_url=False))


def invalid_from_items(items: Sequence[Mapping[str, Any]]) -> Invalid:
    """The same for pydantic's list of problems, as frameworks hand it on."""
    found = problems(items)
    (field, rule), others = found[0], found[1:]
    shown = "; ".join(f"{path}: {what}" for path, what in others[:_ALSO_MOST])
    more = f"; and {len(others) - _ALSO_MOST} more" if len(others) > _ALSO_MOST else ""
    hint = f"Also: {shown}{more}." if others else ""
    return Invalid(field, rule, value=_value(items[0]), hint=hint)


def _location(item: Mapping[str, Any]) -> Sequence[int | str]:
    """Where it is, for callers: of a field that may be of two types, pydantic adds which of them it tried."""
    *above, last = item["loc"] or ("",)
    tried = _TRIED.get(str(last))
    return above if tried and item["type"].startswith(tried) else item["loc"]


def _path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            # A caller's own key may be of any length, and a KEY=VALUE.
            path += f"{'.' if path else ''}{part.partition('=')[0][:_PART_LENGTH]}"
    return path or "body"


def _rule(item: Mapping[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx") or {}
    if kind in _RULES:
        return _RULES[kind]
    if kind in ("literal_error", "enum"):
        return f"must be one of {str(context.get('expected', '')).replace(chr(39), '').replace(' or ', ', ')}"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind in ("string_too_long", "too_long"):
        unit = "characters" if kind == "string_too_long" else "elements"
        return f"must have at most {context.get('max_length')} {unit}"
    if kind == "too_short":
        return f"must have at least {context.get('min_length')} element(s)"
    if kind == "string_pattern_mismatch":
        return f"must match {context.get('pattern')}"
    if kind == "string_too_short":
        return "must not be empty"
    limits = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}
    if kind in limits:
        words, key = limits[kind]
        return f"must be {words} {context.get(key)}"
    return str(item["msg"]).rstrip(".")


def _value(item: Mapping[str, Any]) -> object:
    value = item.get("input")
    # Where an object belongs, what came in its place may be a secret, or an address that holds one.
    if item["type"] == "missing" or _RULES.get(item["type"]) == _OBJECT:
        return None
    return value if isinstance(value, str | int | float) else None
