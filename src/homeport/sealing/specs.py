"""The secret parts of a workload's specification: found wherever they stand, masked on read, sealed before they are
stored, opened for a program. Called by the use cases, the API's views, and where units are made.

Secret is: the `value` of any object that says `secret: true` (variables in `envs`, old jobs' `configurations`, and
whatever else has that shape), everything below a key `secrets`, and the keys of `_ALWAYS`. Nothing guesses by what a
value looks like: what comes from a caller is plain, what is stored is sealed. An empty value is no secret.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from homeport.core.errors import Invalid
from homeport.sealing.keys import PLAIN_BYTES, Place, SealingKeys

MASK = "********"
_ALWAYS = frozenset({"dockerConfig", "callbackSecret"})
_FREE_FORM = frozenset({"tasks"})  # a program's arguments: objects of the caller's own, whatever their keys say
_SEND = "Send the value itself."


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose secrets they are: a workload by its uid, or an execution by its id."""

    workspace: str
    ident: str

    def place(self, field: str) -> Place:
        return Place(self.workspace, self.ident, field)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """A value that is or may be secret. `at` is its path for people; `field` the same by names instead of positions,
    so that a list may change its order. `secret` is None where nothing is said. What is `write_only` is never shown."""

    at: str
    field: str
    name: str
    value: Any
    secret: bool | None
    write_only: bool = False


_Visit = Callable[[_Spot], _Spot]


def masked(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the values of its secrets hidden."""
    return _changed(spec, lambda spot: replace(spot, value=MASK) if spot.secret else spot)


def seal_spec(keys: SealingKeys, spec: dict[str, Any], stored: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A caller's `spec` with its secrets sealed. Where the caller sent the mask, the token of `stored` stays: clients
    update by sending back what they read. Such a value stays secret.

    Raises `Invalid` for a mask of which no value is known, which would replace a secret by stars; for one that shall
    no longer be secret, which would show a value to callers that may not ask for it; and for a value that is too long.
    """
    tokens = _tokens(stored)

    def seal(spot: _Spot) -> _Spot:
        if spot.value == MASK:
            return _kept(spot, tokens)
        if not spot.secret:
            return spot
        _check_length(spot)
        return replace(spot, value=_sealed(keys, spot, owner))

    return _changed(spec, seal)


def seal_plain_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` that an earlier version kept in plain, sealed as it is: nothing in it is a mask."""
    return _changed(spec, lambda spot: replace(spot, value=_sealed(keys, spot, owner)) if spot.secret else spot)


def reveal_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` for an admin who asks for its secrets; what the contract never returns stays masked."""

    def reveal(spot: _Spot) -> _Spot:
        if not spot.secret:
            return spot
        return replace(spot, value=MASK if spot.write_only else _opened(keys, spot, owner))

    return _changed(spec, reveal)


def open_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` in plain, for the program that it starts. Raises `Internal`."""
    return _changed(spec, lambda spot: replace(spot, value=_opened(keys, spot, owner)) if spot.secret else spot)


def reseal_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` with every token under the first key."""
    return _changed(
        spec,
        lambda spot: replace(spot, value=keys.reseal(spot.value, owner.place(spot.field))) if spot.secret else spot,
    )


def seal_env(keys: SealingKeys, env: Mapping[str, str], owner: Owner) -> dict[str, str]:
    """An execution's own variables, all of them sealed: the contract shows none."""
    return {name: keys.seal(value, owner.place(f"env.{name}")) for name, value in env.items()}


def open_env(keys: SealingKeys, env: Mapping[str, str], owner: Owner) -> dict[str, str]:
    return {name: keys.open(token, owner.place(f"env.{name}")) for name, token in env.items()}


def _kept(spot: _Spot, tokens: Mapping[str, Any]) -> _Spot:
    if spot.field in tokens:
        if spot.secret is False:
            raise Invalid(spot.at, "is the mask of a secret, and a value that is none is shown", hint=_SEND)
        return replace(spot, value=tokens[spot.field], secret=True)
    if spot.secret:
        raise Invalid(spot.at, f"is the mask of a secret, and {spot.name!r} has none yet", hint=_SEND)
    return spot


def _tokens(stored: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(spot: _Spot) -> _Spot:
        if spot.secret:
            found[spot.field] = spot.value
        return spot

    _changed(stored, note)
    return found


def _sealed(keys: SealingKeys, spot: _Spot, owner: Owner) -> str:
    """Text is kept as it is, anything else as JSON; the first character says which."""
    text = f"t{spot.value}" if isinstance(spot.value, str) else f"j{json.dumps(spot.value)}"
    return keys.seal(text, owner.place(spot.field))


def _opened(keys: SealingKeys, spot: _Spot, owner: Owner) -> Any:
    text = keys.open(spot.value, owner.place(spot.field))
    return text[1:] if text[:1] == "t" else json.loads(text[1:])


def _check_length(spot: _Spot) -> None:
    size = len(str(spot.value).encode(errors="surrogatepass"))
    if size > PLAIN_BYTES:
        raise Invalid(spot.at, f"must have at most {PLAIN_BYTES} bytes, because it is a secret")


def _changed(spec: dict[str, Any], visit: _Visit) -> dict[str, Any]:
    """`spec` with its secrets changed by `visit`; the same objects where nothing changes."""
    changed: dict[str, Any] = _within(spec, "spec", "", visit)
    return changed


def _within(value: Any, at: str, field: str, visit: _Visit) -> Any:
    if isinstance(value, dict):
        return _object(value, at, field, visit)
    if isinstance(value, list):
        return _list(value, at, field, visit)
    return value


def _list(items: list[Any], at: str, field: str, visit: _Visit) -> list[Any]:
    result = [
        _within(item, f"{at}[{index}]", f"{field}[{_label(item, index)}]", visit) for index, item in enumerate(items)
    ]
    return items if all(new is old for new, old in zip(result, items, strict=True)) else result


def _label(item: Any, index: int) -> str:
    """An element's name, else its place in the list."""
    named = item.get("name") or item.get("id") if isinstance(item, dict) else None
    return named if isinstance(named, str) else str(index)


def _object(item: dict[str, Any], at: str, field: str, visit: _Visit) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for key, value in item.items():
        new = _entry(key, value, f"{at}.{key}", f"{field}.{key}", visit)
        if new is not value:
            changes[key] = new
    if "value" in item:
        said = item.get("secret")
        name = str(item.get("name") or field.rpartition(".")[2])
        spot = _Spot(
            at=f"{at}.value",
            field=field,
            name=name,
            value=item["value"],
            secret=None if said is None else bool(said),
        )
        if (seen := _seen(spot, visit)) is not spot:
            changes |= {"value": seen.value, "secret": seen.secret}
    return {**item, **changes} if changes else item


def _entry(key: str, value: Any, at: str, field: str, visit: _Visit) -> Any:
    if key in _FREE_FORM:
        return value
    if key == "secrets" and isinstance(value, dict):
        spots = [
            _Spot(at=f"{at}.{name}", field=f"{field}.{name}", name=name, value=inner, secret=True, write_only=True)
            for name, inner in value.items()
        ]
        return {spot.name: _seen(spot, visit).value for spot in spots}
    if key in _ALWAYS:
        return _seen(_Spot(at=at, field=field, name=key, value=value, secret=True), visit).value
    return _within(value, at, field, visit)


def _seen(spot: _Spot, visit: _Visit) -> _Spot:
    """An empty value is no secret: there is nothing to hide, and nothing that a mask could stand for."""
    return spot if spot.value is None or spot.value == "" else visit(spot)
