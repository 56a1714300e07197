"""Components that live and that `up` did not write down: the disk was full when it started them, and then it died.

Called where an `up` or a `down` reads what an earlier `up` left. A process is known by its command: the program and
the data directory stand in it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from homeport.settings import DataDir
from homeport.supervise.processes import ProcessId, identify
from homeport.supervise.state import UpState

_PYTHON = {f"homeport.{name}": name for name in ("node", "server", "edge")}


def with_strays(data: DataDir, before: UpState) -> UpState:
    """`before`, with the living process of each component whose written one is dead. A component writes nothing
    of its version: it has the one of that which it replaced, or none, and then it does not go on."""
    known = {name for name, held in before.components.items() if identify(held.pid) == held}
    for name, identity in _components(data):
        if name not in known:
            before = before.with_component(name, identity, before.versions.get(name, ""))
    return before


def _components(data: DataDir) -> Iterator[tuple[str, ProcessId]]:
    """The components of this directory that live: leaders of sessions, as each is, so none of their children."""
    for entry in os.listdir("/proc"):
        name = _name(entry, data) if entry.isdigit() else None
        if name is None:
            continue
        identity = identify(int(entry))
        if identity is not None and _leads_session(identity.pid):
            yield name, identity


def _name(entry: str, data: DataDir) -> str | None:
    try:
        words = Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None  # it has just ended
    if str(data.sockets / "envoy.json") in words:
        return "envoy"
    if str(data.root) not in words or words[words.index(str(data.root)) - 1] != "--data":
        return None
    return next((_PYTHON[word] for word in words if word in _PYTHON), None)


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False
