"""Removing what nobody owns, as far as that is safe: processes, units, control groups, directories, sockets, files.

Rows stay: what made them inconsistent is a fault to be found, and no guess of ours mends it. While a server runs, the
files that only its store tells apart stay too, since it may be about to use them. Called by the program behind
`homeport gc`.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from homeport.core.clock import SystemClock
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.ids import UnitId
from homeport.drivers.process import ProcessDriver
from homeport.leaks.checks import END, REMOVE
from homeport.leaks.engines import remove_kept
from homeport.leaks.finding import Finding
from homeport.node import remove
from homeport.node.cgroups import freezer_of, installation_name
from homeport.node.processes import boot_id
from homeport.settings import DataDir
from homeport.supervise.processes import Handle, ProcessId
from homeport.supervise.state import Lock
from homeport.supervise.supervisor import Grace, end

GRACE_S = 5.0
FILES = ("bundle", "source", "upload", "build")
_ORDER = ("process", "unit", "container", "network", "volume", "image", "cgroup", "socket", "directory", "file", *FILES)


def collect(data: DataDir, found: Sequence[Finding]) -> dict[tuple[str, str], str]:
    """Remove what can be; returns for each finding that stays, by its key, why it stays."""
    lock = Lock(data.lock)
    stopped = lock.take() if data.root.is_dir() else True  # programs may outlive their directory
    stays = {}
    try:
        for finding in sorted(found, key=_turn):
            try:
                if finding.action not in (END, REMOVE):
                    stays[finding.key] = "only told"
                elif finding.kind in FILES and not stopped:
                    stays[finding.key] = "the running server may still use it"
                else:
                    _remove(data, finding)
            except (OSError, HomeportError) as error:
                stays[finding.key] = str(error)
    finally:
        lock.release()
    return stays


def _turn(finding: Finding) -> tuple[int, int, int]:
    """Programs before what they use, those first that started others, and what is inside before what it is in."""
    place = _ORDER.index(finding.kind) if finding.kind in _ORDER else len(_ORDER)
    return place, finding.started or 0, -len(Path(finding.path or "").parts)


def _remove(data: DataDir, finding: Finding) -> None:
    if finding.pid is not None and finding.started is not None:
        _end_process(ProcessId(pid=finding.pid, started=finding.started, boot=boot_id()), installation_name(data.root))
    elif finding.unit is not None:
        asyncio.run(_end_unit(data, UnitId(finding.unit), forget=finding.action == REMOVE))
    elif finding.kind in ("container", "network", "volume", "image"):
        remove_kept(data, finding.kind, finding.name)
    elif finding.path is not None and finding.kind == "cgroup":
        with contextlib.suppress(FileNotFoundError):  # a node that was ended has removed it
            os.rmdir(finding.path)
    elif finding.path is not None:
        _remove_path(Path(finding.path))


def _end_process(identity: ProcessId, groups: str) -> None:
    handle = Handle.open(identity)
    if handle is None:
        return
    with handle:
        if freezer := freezer_of(identity.pid, groups):
            with contextlib.suppress(OSError):  # it has ended
                freezer.ask(False)  # else it would hear of nothing
        if not end(handle, Grace(seconds=GRACE_S), SystemClock()) and not handle.ended(GRACE_S):
            raise Unavailable(f"Process {identity.pid} does not end.")


async def _end_unit(data: DataDir, unit: UnitId, *, forget: bool) -> None:
    driver = ProcessDriver(data.socket("node"))
    try:
        await (driver.forget(unit) if forget else driver.stop(unit, GRACE_S))
    finally:
        await driver.close()


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            remove.empty(str(path))
            path.rmdir()
    else:
        path.unlink(missing_ok=True)
