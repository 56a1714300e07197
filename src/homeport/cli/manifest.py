"""A folder's `blaxel.toml` with flags over it, as a resource of the API.

Used by `deploy`. Checks only what it needs; the server checks the rest and says what is wrong.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from homeport.cli.options import WORKLOADS, parse_kind
from homeport.core.errors import Invalid
from homeport.core.ids import Kind, check_name

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_COPIED = ("policies", "region", "public", "triggers", "volumes")
_RUNTIME = ("memory", "timeout", "maxRetries", "maxConcurrentTasks", "minScale", "maxScale", "generation")


def workload(
    folder: Path, *, name: str | None, kind: str | None, policies: list[str] | None, environment: list[str]
) -> tuple[Kind, dict[str, Any]]:
    """The kind and the resource that `folder` describes; flags win over its `blaxel.toml`. Raises `Invalid`."""
    if not folder.is_dir():
        raise Invalid("--directory", "must be a folder", value=str(folder))
    written = _toml(folder / "blaxel.toml")
    chosen = parse_kind(kind or str(written.get("type", Kind.AGENT)), WORKLOADS)
    spec: dict[str, Any] = {key: written[key] for key in _COPIED if key in written}
    if policies:
        spec["policies"] = policies
    table = written.get("runtime")
    runtime = {key: table[key] for key in _RUNTIME if key in table} if isinstance(table, dict) else {}
    if isinstance(runtime.get("timeout"), str):
        runtime["timeout"] = _seconds(runtime["timeout"])
    variables = {**{key: str(value) for key, value in written.get("env", {}).items()}, **_variables(environment)}
    runtime["envs"] = [{"name": key, "value": value} for key, value in variables.items()]
    spec["runtime"] = runtime
    final = check_name(name, "--name") if name else _name(written, folder)
    return chosen, {"metadata": {"name": final, "labels": {"x-blaxel-auto-generated": "true"}}, "spec": spec}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise Invalid(str(path), f"is not valid TOML: {exc}") from exc


def _name(written: dict[str, Any], folder: Path) -> str:
    if "name" in written:
        return check_name(_slug(str(written["name"])), "name in blaxel.toml")
    slug = _slug(folder.resolve().name)
    if not slug:
        raise Invalid("--name", "is needed: the folder's name has no letter or digit", value=folder.resolve().name)
    return check_name(slug, "the folder's name")


def _slug(text: str) -> str:
    """`text` as the public command line makes names of it."""
    kept = re.sub(r"[^a-z0-9-]", "", re.sub(r"[\s_]", "-", text.lower()))
    return re.sub(r"-+", "-", kept).strip("-")


def _variables(words: list[str]) -> dict[str, str]:
    variables = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Invalid("--env", "must be NAME=VALUE", value=word)
        variables[key] = value
    return variables


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhdw]?)", text.strip())
    if found is None:
        raise Invalid("runtime.timeout", "must be seconds or a duration such as 90s, 15m or 1h", value=text)
    return int(found[1]) * _SECONDS.get(found[2], 1)
