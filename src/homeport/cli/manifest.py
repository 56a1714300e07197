"""A folder's `blaxel.toml` with flags over it, as a resource of the API, and what of it will have no effect.

Used by `deploy`. Checks only what it needs; the server checks the rest and says what is wrong.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.build.manifest import parse_manifest
from homeport.cli.options import parse_kind
from homeport.cli.variables import Value, resolve
from homeport.core.errors import Invalid
from homeport.core.ids import WORKLOADS, Kind, check_name

FILE = "blaxel.toml"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_COPIED = ("policies", "region", "public", "triggers", "volumes", "githubRunner", "integrationConnections")
# Keys of the contract that mean something to the public command line or to kinds that are not served.
_IDLE = ("protocol", "functions", "models", "agents", "directory", "defaultSize", "memory", "port", "deploy")
_PACKAGES = ("agent", "function", "job")
_NOT_SENT = "BL_API_KEY"  # as with the public command line: a person's key is no program's


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command's words say. `secrets` are variables, too, that nobody is shown again; `docker_config` is the
    text of Docker's config.json, `traffic` the new revision's share in percent."""

    name: str | None = None
    kind: str | None = None
    policies: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    docker_config: str = field(default="", repr=False)
    traffic: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be deployed. workspace: the one that `blaxel.toml` names, empty when it names none."""

    kind: Kind
    resource: dict[str, Any]
    warnings: tuple[str, ...]
    workspace: str

    @property
    def name(self) -> str:
        return str(self.resource["metadata"]["name"])

    @property
    def image(self) -> str:
        """What is run instead of the folder; empty for none."""
        return str(self.resource["spec"]["runtime"].get("image") or "")


def read_order(folder: Path, flags: Flags) -> Order:
    """The kind and the resource that `folder` describes; flags win over its `blaxel.toml`. Raises `Invalid`."""
    if not folder.is_dir():
        raise Invalid("directory", "must be a folder", value=str(folder))
    written, unknown = _toml(folder / FILE)
    warnings = [f"{FILE}: {key} is no key of the contract and has no effect." for key in unknown]
    warnings += [f"{FILE}: {key} has no effect here." for key in _IDLE if key in written]
    warnings += _about_packages(written)
    name = check_name(flags.name, "--name") if flags.name else _name(written, folder, flags, warnings)
    return _order(written, name, flags, warnings)


def read_repository_order(url: str, secret: str | None, flags: Flags) -> Order:
    """The kind and the resource of a repository, which the server fetches; by default it is called like the last part
    of its address. Raises `Invalid`."""
    last = url.partition("#")[0].rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]
    name = check_name(flags.name or _slug(last), "--name" if flags.name else "the repository's name")
    order = _order({}, name, flags, [])
    order.resource["metadata"]["labels"] = {}  # nothing is uploaded
    order.resource["spec"]["repository"] = {"url": url, **({"secret": secret} if secret else {})}
    return order


def _order(written: Mapping[str, Any], name: str, flags: Flags, warnings: list[str]) -> Order:
    chosen = parse_kind(flags.kind or str(written.get("type", Kind.AGENT)), WORKLOADS)
    spec: dict[str, Any] = {key: written[key] for key in _COPIED if key in written}
    if isinstance(spec.get("region"), str):
        spec["region"] = _text(spec["region"], "region", flags, warnings)
    if flags.policies:
        spec["policies"] = list(flags.policies)
    if flags.traffic is not None:
        spec["revision"] = {"traffic": flags.traffic}
    spec["runtime"] = _runtime(written, flags, warnings)
    return Order(
        kind=chosen,
        resource={"metadata": {"name": name, "labels": {"x-blaxel-auto-generated": "true"}}, "spec": spec},
        warnings=tuple(warnings),
        workspace=str(written.get("workspace") or ""),
    )


def _runtime(written: Mapping[str, Any], flags: Flags, warnings: list[str]) -> dict[str, Any]:
    table = written.get("runtime")
    runtime: dict[str, Any] = dict(table) if isinstance(table, dict) else {}
    if isinstance(runtime.get("timeout"), str):
        runtime["timeout"] = _seconds(runtime["timeout"])
    if written.get("image"):
        runtime["image"] = written["image"]
    if flags.docker_config:
        runtime["dockerConfig"] = flags.docker_config
    runtime["envs"] = _envs(written.get("env") or {}, flags, warnings)
    return runtime


def _envs(table: Mapping[str, Any], flags: Flags, warnings: list[str]) -> list[dict[str, Any]]:
    """The variables; what comes later wins: `[env]`, secrets, --env."""
    found: dict[str, Value] = {}
    for key, value in table.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        found[key] = resolve(shown, flags.secrets)
        if found[key].unset:
            warnings.append(f"{FILE}: env.{key}: ${found[key].unset} has no value and is sent as it is written.")
    found |= {key: Value(text=value, secret=True) for key, value in flags.secrets.items()}
    found |= {key: Value(text=value) for key, value in flags.variables.items()}
    if found.pop(_NOT_SENT, None) is not None:
        warnings.append(f"{_NOT_SENT} is not sent: every program is given a key of its own.")
    secret = {"secret": True}
    return [{"name": key, "value": value.text, **(secret if value.secret else {})} for key, value in found.items()]


def _about_packages(written: Mapping[str, Any]) -> list[str]:
    names = [f"{kind}.{name}" for kind in _PACKAGES if isinstance(written.get(kind), dict) for name in written[kind]]
    if not names:
        return []
    return [f"{FILE}: {', '.join(names)}: packages are not deployed with their folder. Deploy each with -d FOLDER."]


def _toml(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The file, and the keys that the contract does not know. Raises `Invalid` as the build would."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}, ()
    except OSError as exc:
        raise Invalid(str(path), f"cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise Invalid(str(path), "is not text in UTF-8") from exc
    unknown = parse_manifest(text).unknown
    return tomllib.loads(text), unknown


def _name(written: Mapping[str, Any], folder: Path, flags: Flags, warnings: list[str]) -> str:
    if "name" in written:
        return check_name(_slug(_text(str(written["name"]), "name", flags, warnings)), f"name in {FILE}")
    slug = _slug(folder.resolve().name)
    if not slug:
        raise Invalid("--name", "is needed: the folder's name has no letter or digit", value=folder.resolve().name)
    return check_name(slug, "the folder's name")


def _text(value: str, key: str, flags: Flags, warnings: list[str]) -> str:
    found = resolve(value, flags.secrets)
    if found.unset:
        warnings.append(f"{FILE}: {key}: ${found.unset} has no value and is taken as it is written.")
    return found.text


def _slug(text: str) -> str:
    """`text` as the public command line makes names of it."""
    kept = re.sub(r"[^a-z0-9-]", "", re.sub(r"[\s_]", "-", text.lower()))
    return re.sub(r"-+", "-", kept).strip("-")


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhdw]?)", text.strip())
    if found is None:
        raise Invalid("runtime.timeout", "must be seconds or a duration such as 90s, 15m or 1h", value=text)
    return int(found[1]) * _SECONDS.get(found[2], 1)
