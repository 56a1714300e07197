"""Components that live and that `up` did not write down: the disk was full when it started them, and then it died.

Called where an `up` or a `down` reads what an earlier `up` left. A process is known by its command: the program and
the data directory stand in it.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from homeport.settings import DataDir
from homeport.supervise.processes import ProcessId, identify
from homeport.supervise.state import UpState
from homeport.supervise.takeover import GATEWAY

_PYTHON = {f"homeport.{name}": name for name in ("node", "server", "edge")}


def with_strays(data: DataDir, before: UpState) -> UpState:
    """`before`, with the living process of each component whose written one is dead. A component writes nothing
    of its version: it has the one of that which it replaced, or none, and then it does not go on."""
    known = {name for name, held in before.components.items() if held.lives()}
    for name, identity in _components(data):
        if name not in known:
            before = before.with_component(name, identity, before.versions.get(name, ""))
    return before


def _components(data: DataDir) -> Iterator[tuple[str, ProcessId]]:
    """The components of this directory that live: leaders of sessions, as each is, so none of their children."""
    for entry in os.listdir("/proc"):
        name = component_of(_words(entry), data) if entry.isdigit() else None
        if name is None:
            continue
        identity = identify(int(entry))
        if identity is not None and _leads_session(identity.pid):
            yield name, identity


def component_of(words: Sequence[str], data: DataDir) -> str | None:
    """The component that a process with this command is, if it works for this directory."""
    if str(data.envoy_config) in words:
        return GATEWAY
    if "--data" not in words[:-1] or words[words.index("--data") + 1] != str(data.root):
        return None
    if "--check" in words:  # `homeport doctor` looks at the machine
        return None
    return next((_PYTHON[word] for word in words if word in _PYTHON), None)


def _words(entry: str) -> list[str]:
    try:
        return Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []  # it has just ended


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False
