"""Secret variables in specs: masked on read, and kept when a caller sends the mask back (public contract)."""

from collections.abc import Callable
from typing import Any

from homeport.core.errors import Invalid

MASK = "********"
_Env = dict[str, Any]


def masked(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the values of its secret variables hidden."""
    return _with_envs(spec, lambda _, env: {**env, "value": MASK} if env.get("secret") and env.get("value") else env)


def keep_masked(spec: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the stored value wherever the caller sent the mask: clients update by sending back what they
    read. Such a variable stays secret.

    Raises `Invalid` for a mask of which no value is known, which would replace a secret by stars, and for one that
    shall no longer be secret, which would show a value to callers that may not ask for it.
    """
    values = {env.get("name"): env.get("value") for env in _envs(stored) if env.get("secret")}

    def keep(index: int, env: _Env) -> _Env:
        if env.get("value") != MASK:
            return env
        if env.get("name") in values:
            return _kept(index, env, values[env["name"]])
        if env.get("secret"):
            raise Invalid(_path(index), f"is the mask of a secret, and {env.get('name')!r} has none yet", hint=_SEND)
        return env

    return _with_envs(spec, keep)


def _kept(index: int, env: _Env, value: Any) -> _Env:
    if env.get("secret") is False:
        raise Invalid(_path(index), "is the mask of a secret, and a variable that is none shows its value", hint=_SEND)
    return {**env, "value": value, "secret": True}


_SEND = "Send the value itself."


def _path(index: int) -> str:
    return f"spec.runtime.envs[{index}].value"


def _envs(spec: dict[str, Any]) -> list[_Env]:
    envs: list[_Env] = (spec.get("runtime") or {}).get("envs") or []
    return envs


def _with_envs(spec: dict[str, Any], change: Callable[[int, _Env], _Env]) -> dict[str, Any]:
    if not (envs := _envs(spec)):
        return spec
    changed = [change(index, env) for index, env in enumerate(envs)]
    return {**spec, "runtime": {**spec["runtime"], "envs": changed}}
