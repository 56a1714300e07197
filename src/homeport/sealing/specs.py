"""The secret parts of a workload's specification: found wherever they stand, masked on read, sealed before they are
stored, opened for a program. Called by the use cases, the API's views, and where units are made.

Secret is: the `value` of any object that says `secret: true` (variables in `envs`, old jobs' `configurations`, and
whatever else has that shape), everything below a key `secrets`, and the keys of `_ALWAYS`. Nothing guesses by what a
value looks like: what comes from a caller is plain, what is stored is sealed. An empty value is no secret: there is
nothing to hide, and nothing that a mask could stand for.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from homeport.core.errors import Invalid
from homeport.core.fields import MASK
from homeport.sealing.keys import PLAIN_BYTES, Place, SealingKeys

_ALWAYS = frozenset({"dockerConfig", "callbackSecret"})
_ONCE = frozenset({"callbackSecret"})  # of `_ALWAYS`, shown by whoever made it and never again (public contract)
_FREE_FORM = frozenset({"tasks"})  # a program's arguments: objects of the caller's own, whatever their keys say
_SCALARS = frozenset({str, int, float, bool, type(None)})
_SEND = "Send the value itself."


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose secrets they are: a workload by its uid, or an execution by its id."""

    workspace: str
    ident: str

    def place(self, field: str) -> Place:
        return Place(self.workspace, self.ident, field)


class _Path(NamedTuple):
    """A step on the way to a value: `at` for people (`.envs`, `[3]`), `name` the same without positions in lists, which
    may change (`[TOKEN]`). Text is made of it only where it is needed: lists of many workloads are masked at once."""

    above: "_Path | None"
    at: str
    name: str


class _Spot(NamedTuple):
    """A value that is or may be secret. `secret` is None where nothing is said. What is `write_only` is never shown."""

    path: _Path
    value: Any
    secret: bool | None
    write_only: bool = False

    @property
    def at(self) -> str:
        """Where it stands, for people."""
        return "spec" + "".join(step.at for step in _steps(self.path))

    @property
    def field(self) -> str:
        """Where it belongs, whatever the order of lists."""
        return "".join(step.name for step in _steps(self.path))


_Visit = Callable[[_Spot], Any]
"""The new value of a spot, or its own. What gets a new one is secret from then on, if it was not before."""


def masked(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the values of its secrets hidden."""
    return _changed(spec, lambda spot: MASK if spot.secret else spot.value)


def seal_spec(keys: SealingKeys, spec: dict[str, Any], stored: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A caller's `spec` with its secrets sealed. Where the caller sent the mask, the token of `stored` stays: clients
    update by sending back what they read. Such a value stays secret.

    Raises `Invalid` for a mask of which no value is known, which would replace a secret by stars; for one that shall
    no longer be secret, which would show a value to callers that may not ask for it; and for a value that is too long.
    """
    tokens = _tokens(stored)

    def seal(spot: _Spot) -> Any:
        if spot.value == MASK:
            return _kept(spot, tokens)
        if not spot.secret:
            return spot.value
        _check_length(spot)
        return _sealed(keys, spot, owner)

    return _changed(spec, seal)


def seal_plain_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` that an earlier version kept in plain, sealed as it is: nothing in it is a mask."""
    return _changed(spec, lambda spot: _sealed(keys, spot, owner) if spot.secret else spot.value)


def reveal_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` for an admin who asks for its secrets; what the contract never returns stays masked."""

    def reveal(spot: _Spot) -> Any:
        if not spot.secret:
            return spot.value
        return MASK if spot.write_only else _opened(keys, spot, owner)

    return _changed(spec, reveal)


def open_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` in plain, for the program that it starts. Raises `Internal`."""
    return _changed(spec, lambda spot: _opened(keys, spot, owner) if spot.secret else spot.value)


def open_callback_secret(keys: SealingKeys, spec: dict[str, Any], trigger: str, owner: Owner) -> str:
    """The secret in plain that signs the callbacks of the trigger of this id, of a stored `spec`. Raises `Internal`."""
    items = [item for item in spec["triggers"] if isinstance(item, dict) and item.get("id", "") == trigger]
    opened = open_spec(keys, {**spec, "triggers": items}, owner)
    secret: str = opened["triggers"][0]["configuration"]["callbackSecret"]
    return secret


def reseal_spec(keys: SealingKeys, spec: dict[str, Any], owner: Owner) -> dict[str, Any]:
    """A stored `spec` with every token under the first key."""
    return _changed(
        spec,
        lambda spot: keys.reseal(spot.value, owner.place(spot.field)) if spot.secret else spot.value,
    )


def seal_env(keys: SealingKeys, env: Mapping[str, str], owner: Owner) -> dict[str, str]:
    """An execution's own variables, all of them sealed: the contract shows none."""
    return {name: keys.seal(value, owner.place(f"env.{name}")) for name, value in env.items()}


def open_env(keys: SealingKeys, env: Mapping[str, str], owner: Owner) -> dict[str, str]:
    return {name: keys.open(token, owner.place(f"env.{name}")) for name, token in env.items()}


def _kept(spot: _Spot, tokens: Mapping[str, Any]) -> Any:
    if spot.field in tokens:
        if spot.secret is False:
            raise Invalid(spot.at, "is the mask of a secret, and a value that is none is shown", hint=_SEND)
        return tokens[spot.field]
    if spot.secret:
        raise Invalid(spot.at, "is the mask of a secret, and none is stored there yet", hint=_SEND)
    return spot.value


def _tokens(stored: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(spot: _Spot) -> Any:
        if spot.secret:
            found[spot.field] = spot.value
        return spot.value

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
    return _object(spec, None, visit)


def _within(value: Any, path: _Path | None, visit: _Visit) -> Any:
    if isinstance(value, dict):
        return _object(value, path, visit)
    if isinstance(value, list):
        return _list(value, path, visit)
    return value


def _list(items: list[Any], above: _Path | None, visit: _Visit) -> list[Any]:
    result = items
    for index, item in enumerate(items):
        if item.__class__ in _SCALARS:
            continue
        path = _Path(above, f"[{index}]", f"[{_label(item, index)}]")
        if (new := _within(item, path, visit)) is not item:
            result = [*result] if result is items else result
            result[index] = new
    return result


def _label(item: Any, index: int) -> str:
    """An element's name, else its place in the list."""
    named = item.get("name") or item.get("id") if isinstance(item, dict) else None
    return named if isinstance(named, str) else str(index)


def _object(item: dict[str, Any], path: _Path | None, visit: _Visit) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for key, value in item.items():
        if value.__class__ in _SCALARS and key not in _ALWAYS:
            continue
        if (new := _entry(key, value, _Path(path, f".{key}", f".{key}"), visit)) is not value:
            changes[key] = new
    if not _empty(value := item.get("value")):
        said = item.get("secret")
        spot = _Spot(_Path(path, ".value", ""), value, None if said is None else bool(said))
        if (new := visit(spot)) is not value:
            changes |= {"value": new, "secret": True}
    return {**item, **changes} if changes else item


def _entry(key: str, value: Any, path: _Path, visit: _Visit) -> Any:
    if key in _FREE_FORM:
        return value
    if key == "secrets" and isinstance(value, dict):
        spots = {name: _Spot(_Path(path, f".{name}", f".{name}"), inner, True, True) for name, inner in value.items()}
        return {name: spot.value if _empty(spot.value) else visit(spot) for name, spot in spots.items()}
    if key in _ALWAYS and not _empty(value):
        return visit(_Spot(path, value, True, key in _ONCE))
    return _within(value, path, visit)


def _empty(value: Any) -> bool:
    return value is None or value == ""


def _steps(path: _Path) -> list[_Path]:
    """From the top down."""
    steps = [path]
    while (above := steps[-1].above) is not None:
        steps.append(above)
    return steps[::-1]
