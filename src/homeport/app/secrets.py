"""Secret variables in specs: masked on read, and kept when a caller sends the mask back (contract §3.8)."""

from typing import Any

MASK = "********"


def masked(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the values of its secret variables hidden."""
    return _with_envs(spec, lambda env: {**env, "value": MASK} if env.get("secret") and env.get("value") else env)


def keep_masked(spec: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the stored value wherever the caller sent the mask: clients update by sending back what they
    read."""
    values = {env.get("name"): env.get("value") for env in _envs(stored) if env.get("secret")}

    def keep(env: dict[str, Any]) -> dict[str, Any]:
        known = env.get("value") == MASK and env.get("name") in values
        return {**env, "value": values[env["name"]]} if known else env

    return _with_envs(spec, keep)


def _envs(spec: dict[str, Any]) -> list[dict[str, Any]]:
    envs: list[dict[str, Any]] = (spec.get("runtime") or {}).get("envs") or []
    return envs


def _with_envs(spec: dict[str, Any], change: Any) -> dict[str, Any]:
    if not (envs := _envs(spec)):
        return spec
    return {**spec, "runtime": {**spec["runtime"], "envs": [change(env) for env in envs]}}
