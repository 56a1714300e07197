"""Reads `blaxel.toml` into a value. Called by the builder; what the file's keys mean is decided elsewhere.

Keys that no version of the contract names are ignored, as the contract has it, and listed in `unknown`, so that a
misspelt key can be shown. A known key of the wrong type is `Invalid` with the key's path. Nothing is interpolated: the
public CLI does that before it sends its request.
"""

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from homeport.core.errors import Invalid

FILE_NAME = "blaxel.toml"
FILE_BYTES = 1024 * 1024  # a manifest written by a person is a few kilobytes

_TYPES = ("agent", "function", "job", "sandbox", "volume-template", "application")
_DURATION = re.compile(r"(\d+)([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# Known keys that mean nothing to a build; listed so that they do not count as unknown.
_OTHERS = frozenset(
    """
    workspace protocol agents functions models function agent job skipRoot volumes defaultSize directory githubRunner
    memory port deploy transport
    """.split()  # noqa: SIM905 one list a line would fill the page
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`blaxel.toml`. `policies` is None where the key is absent, since an empty list says "no policies".

    runtime: the table `[runtime]` under the contract's own keys, types checked and durations in seconds, since the
    public CLI loses some of them on their way to the server. unknown: paths of the keys that were ignored, sorted.
    """

    type: str | None = None
    name: str | None = None
    description: str | None = None
    image: str | None = None
    region: str | None = None
    public: bool | None = None
    policies: tuple[str, ...] | None = None
    entrypoint_prod: str | None = None
    entrypoint_dev: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    build_args: dict[str, str] = field(default_factory=dict)
    build_slim: bool | None = None
    runtime: dict[str, Any] = field(default_factory=dict)
    triggers: tuple[dict[str, Any], ...] = ()
    unknown: tuple[str, ...] = ()


def read_manifest(app: Path) -> Manifest:
    """The manifest in the directory `app`, or an empty one where there is no such file. Raises `Invalid`."""
    path = app / FILE_NAME
    if not path.is_file():
        return Manifest()
    if path.stat().st_size > FILE_BYTES:
        raise Invalid(FILE_NAME, f"may have {FILE_BYTES} bytes at most", value=path.stat().st_size)
    try:
        return parse_manifest(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as exc:
        raise Invalid(FILE_NAME, "must be UTF-8 text") from exc


def parse_manifest(text: str) -> Manifest:
    """The manifest that `text` holds. Raises `Invalid` naming the key that has the wrong type or value."""
    try:
        top = _Table(tomllib.loads(text), "")
    except tomllib.TOMLDecodeError as exc:
        raise Invalid(FILE_NAME, f"must be valid TOML: {exc}") from exc
    except RecursionError as exc:
        raise Invalid(FILE_NAME, "must not be nested so deeply") from exc
    kind = top.text("type")
    if kind is not None and kind not in _TYPES:
        raise Invalid(f"{FILE_NAME}: type", f"must be one of {', '.join(_TYPES)}", value=kind)
    entrypoint, build, runtime = top.table("entrypoint"), top.table("build"), top.table("runtime")
    manifest = Manifest(
        type=kind,
        name=top.text("name"),
        description=top.text("description"),
        image=top.text("image"),
        region=top.text("region"),
        public=top.flag("public"),
        policies=top.texts("policies"),
        entrypoint_prod=entrypoint.text("prod"),
        entrypoint_dev=entrypoint.text("dev"),
        env=top.text_map("env"),
        build_args=build.text_map("args"),
        build_slim=build.flag("slim"),
        runtime=_runtime(runtime),
        triggers=top.tables("triggers"),
    )
    unknown = sorted([*top.unread(_OTHERS), *entrypoint.unread(), *build.unread(), *runtime.unread()])
    return replace(manifest, unknown=tuple(unknown))


def _runtime(table: "_Table") -> dict[str, Any]:
    checked = {
        "memory": table.number("memory", minimum=1),
        "timeout": table.duration("timeout"),
        "maxConcurrentTasks": table.number("maxConcurrentTasks", minimum=1),
        "maxRetries": table.number("maxRetries"),
        "minScale": table.number("minScale"),
        "maxScale": table.number("maxScale", minimum=1),
        "diskPercent": table.number("diskPercent", minimum=1),
        "storageMb": table.number("storageMb", minimum=1),
        "generation": table.text("generation"),
        "transport": table.text("transport"),
        "ports": table.tables("ports") or None,
    }
    return {key: value for key, value in checked.items() if value is not None}


class _Table:
    """A TOML table that remembers which keys were asked for, so that the rest can be listed."""

    def __init__(self, values: dict[str, Any], path: str) -> None:
        self._values = values
        self._path = path
        self._read: set[str] = set()

    def unread(self, known: frozenset[str] = frozenset()) -> list[str]:
        return [self._at(key) for key in self._values if key not in self._read and key not in known]

    def text(self, key: str) -> str | None:
        value = self._get(key)
        if value is not None and (not isinstance(value, str) or "\0" in value):
            raise self._wrong(key, "must be a string", value)
        return value

    def flag(self, key: str) -> bool | None:
        value = self._get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "must be true or false", value)
        return value

    def number(self, key: str, minimum: int = 0) -> int | None:
        value = self._get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < minimum):
            raise self._wrong(key, f"must be a whole number of {minimum} or more", value)
        return value

    def duration(self, key: str) -> int | None:
        """Seconds; the file has a whole number, or text like `30s`, `15m`, `1h`, `2d` or `1w`."""
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if isinstance(value, str) and (match := _DURATION.fullmatch(value)) and int(match[1]) > 0:
            return int(match[1]) * _SECONDS[match[2]]
        raise self._wrong(key, "must be seconds above 0 or a duration such as 30s, 15m or 1h", value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self._get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "must be a list of strings", value)
        return tuple(value)

    def text_map(self, key: str) -> dict[str, str]:
        value = self._get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(key, "must be a table of strings", value)
        table = _Table(value, self._at(key))
        return {name: table.text(name) or "" for name in value}

    def table(self, key: str) -> "_Table":
        value = self._get(key)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(key, "must be a table", value)
        return _Table(value or {}, self._at(key))

    def tables(self, key: str) -> tuple[dict[str, Any], ...]:
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, "must be a list of tables", value)
        return tuple(value)

    def _get(self, key: str) -> Any:
        self._read.add(key)
        return self._values.get(key)

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _wrong(self, key: str, rule: str, value: object) -> Invalid:
        return Invalid(f"{FILE_NAME}: {self._at(key)}", rule, value=value)
