"""What `up` knows of the running system, in `up.json` and `up.lock`. Written by the supervisor only; read by it, by
`homeport down` and (port and host) by the client. Every write replaces the file at once.
"""

import fcntl
import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from homeport.core.errors import Denied
from homeport.core.private import replace_text
from homeport.settings import DataDir
from homeport.supervise.processes import ProcessId

log = logging.getLogger(__name__)

WORKSPACE = "default"  # the workspace that the server makes at its first start


@dataclass(frozen=True, slots=True, kw_only=True)
class UpState:
    """port, host: the public listener, None before the first start. supervisor: the `up` that wrote this, None after
    it stopped. components: what it started and has not seen end, by name; versions: which version each of them is.
    sandboxed: False under `--insecure-no-sandbox`. stopping: how far a stop is that is under way: what is waited for
    still; None ordinarily. stopped: what the last stop ended."""

    port: int | None = None
    host: str = "127.0.0.1"
    workspace: str = WORKSPACE
    ready: bool = False
    sandboxed: bool = True
    supervisor: ProcessId | None = None
    components: dict[str, ProcessId] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    stopping: dict[str, Any] | None = None
    stopped: dict[str, Any] | None = None

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        return local_url(self.host, self.port or 0)

    def with_component(self, name: str, identity: ProcessId | None, version: str = "") -> "UpState":
        """The state after the component `name` of `version` started as `identity`, or ended (None)."""
        components = {other: held for other, held in self.components.items() if other != name}
        versions = {other: held for other, held in self.versions.items() if other != name}
        if identity is not None:
            components[name], versions[name] = identity, version
        return replace(self, components=components, versions=versions)

    def to_json(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "host": self.host,
            "url": self.url if self.port else None,
            "workspace": self.workspace,
            "ready": self.ready,
            "sandboxed": self.sandboxed,
            "supervisor": self.supervisor.to_json() if self.supervisor else None,
            "components": {name: held.to_json() for name, held in self.components.items()},
            "versions": self.versions,
            "stopping": self.stopping,
            "stopped": self.stopped,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "UpState":
        supervisor = data.get("supervisor")
        return cls(
            port=data.get("port"),
            host=data.get("host", "127.0.0.1"),
            workspace=data.get("workspace", WORKSPACE),
            ready=bool(data.get("ready")),
            sandboxed=bool(data.get("sandboxed", True)),
            supervisor=ProcessId.from_json(supervisor) if supervisor else None,
            components={name: ProcessId.from_json(held) for name, held in data.get("components", {}).items()},
            versions={name: str(version) for name, version in data.get("versions", {}).items()},
            stopping=data.get("stopping"),
            stopped=data.get("stopped"),
        )


def local_url(host: str, port: int) -> str:
    """The base URL for a client on this machine; an address that means "all" is reached by loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_state(data: DataDir) -> UpState:
    """The last state written, or an empty one before the first start. Raises ValueError when the file is damaged."""
    try:
        text = data.state.read_bytes()
    except FileNotFoundError:
        return UpState()
    try:
        return UpState.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"{data.state} is damaged: {exc}") from exc


def write_state(data: DataDir, state: UpState) -> None:
    """Replace the state. A reader sees the old or the new one, never a part, also after a loss of power: that may lose
    the new one, but then the processes in it are gone too."""
    replace_text(data.state, json.dumps(state.to_json(), indent=2) + "\n", data.state.with_suffix(".new"))


class Book:
    """The state file, kept as things happen. While the disk takes nothing, what is new stays in memory."""

    def __init__(self, data: DataDir, state: UpState) -> None:
        self._data = data
        self._kept = True
        self.state = state

    def change(self, state: UpState) -> None:
        self.state = state
        self._kept = False
        self.keep()

    def keep(self) -> None:
        if self._kept:
            return
        try:
            write_state(self._data, self.state)
            self._kept = True
        except OSError as exc:
            log.warning("cannot write %s: %s", self._data.state, exc)

    def record(self, name: str, identity: ProcessId | None, version: str = "") -> None:
        self.change(self.state.with_component(name, identity, version))


class Lock:
    """The lock of one data directory. Held for the life of a supervisor; the kernel frees it at its death, whichever
    way it dies, and no child inherits it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        """Take it if it is free. Returns whether it is ours. Raises `Denied` when the directory is another user's."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as exc:
            hint = "Run this as the user that started Homeport, or as root."
            raise Denied(f"{self._path.parent} belongs to another user.", hint=hint) from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
