"""What this machine shows of one installation: processes, control groups, sockets, open files. Reads, decides nothing.

Called by `homeport.leaks.observation`. What vanishes while it is looked at is left out. As an ordinary user it sees
that user's processes only, which are all that such an installation has.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from homeport.core.clock import SystemClock
from homeport.node.cgroups import CONTROLLERS, ROOT
from homeport.node.processes import stat_fields

PROC = Path("/proc")
_TICKS_S = os.sysconf("SC_CLK_TCK")
_LISTENING = 0x10000  # the flag __SO_ACCEPTCON in /proc/net/unix


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """started: clock ticks since the boot. words: its command. unit: the id of the unit that it is part of, as its
    control group, its mounts, its directory or its environment say."""

    pid: int
    parent: int
    started: int
    age_s: float
    words: tuple[str, ...]
    zombie: bool = False
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, directory or socket. age_s: since it was last written to. moved_s: since it was made or renamed, or its
    mode changed. listened: for sockets."""

    path: Path
    age_s: float = 0.0
    moved_s: float = 0.0
    listened: bool = False

    @property
    def name(self) -> str:
        return self.path.name


def processes(group: str, units: Path) -> tuple[Process, ...]:
    """Every process of the machine that may be looked at. group: the name of our control groups. units: where the
    node keeps the directories of units."""
    uptime = float((PROC / "uptime").read_text().split()[0])
    finder = _UnitFinder(group, units)
    found = (_process(entry, uptime) for entry in os.listdir(PROC) if entry.isdigit())
    return tuple(replace(one, unit=finder.unit(one)) for one in found if one is not None)


def _process(entry: str, uptime: float) -> Process | None:
    try:
        words = (PROC / entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return None
    if (fields := stat_fields(entry)) is None:
        return None
    started = int(fields[19])
    return Process(
        pid=int(entry),
        parent=int(fields[1]),
        started=started,
        age_s=max(0.0, uptime - started / _TICKS_S),
        words=tuple(words),
        zombie=fields[0] == "Z",
    )


class _UnitFinder:
    """Of which unit a process is part. Processes of one mount namespace are looked at once."""

    def __init__(self, group: str, units: Path) -> None:
        self._group = re.compile(rf"/{re.escape(group)}/([^/\n]+)$", re.MULTILINE)
        self._folder = os.fsencode(f"{units}/")
        self._mounted = re.compile(rf" {re.escape(_as_mounted(units))}/([^/ ]+)/")
        self._own_mounts = _namespace("self")
        self._of_mounts: dict[str, str | None] = {}

    def unit(self, process: Process) -> str | None:
        here = PROC / str(process.pid)
        with contextlib.suppress(OSError):
            if found := self._group.search((here / "cgroup").read_text()):
                return found[1]
            mounts = _namespace(str(process.pid))
            if mounts != self._own_mounts:
                if mounts not in self._of_mounts:
                    seen = self._mounted.search((here / "mountinfo").read_text(errors="replace"))
                    self._of_mounts[mounts] = seen[1] if seen else None
                return self._of_mounts[mounts]
            return self._of_environment(here)
        return None

    def _of_environment(self, here: Path) -> str | None:
        """Without a sandbox a program's home is the unit's own; one without a home is where it works. Whoever has
        another home is a person looking at the unit's files, or a program of theirs."""
        words = (here / "environ").read_bytes().split(b"\0")
        homes = [word[len(b"HOME=") :] for word in words if word.startswith(b"HOME=")]
        place = homes[0] if homes else os.fsencode(os.readlink(here / "cwd"))
        if not place.startswith(self._folder):
            return None
        return os.fsdecode(place[len(self._folder) :].split(b"/")[0])


def _namespace(pid: str) -> str:
    return os.readlink(PROC / pid / "ns" / "mnt")


def _as_mounted(path: Path) -> str:
    """`path` as mountinfo writes it: its file system's device, and the path from the root of that. By the path alone
    another installation's programs would be ours, where each has a file system of its own."""
    best, found = "", str(path)
    for line in (PROC / "self" / "mountinfo").read_text().splitlines():
        fields = line.split()
        device, root, point = fields[2:5]
        if len(point) >= len(best) and (str(path) + "/").startswith(point.rstrip("/") + "/"):
            inside = root.rstrip("/") + "/" + str(path)[len(point) :].lstrip("/")
            best, found = point, f"{device} {inside}"
    return found


def groups(name: str) -> tuple[Entry, ...]:
    """Our own control groups, wherever they stand in the tree: those called `name`, and the groups inside them."""
    found: list[Entry] = []
    roots = [ROOT, *(ROOT / controller for controller in CONTROLLERS)]
    for root in dict.fromkeys(os.path.realpath(root) for root in roots if root.is_dir()):
        for parent, folders, _ in os.walk(root):
            if name in folders:
                base = Path(parent, name)
                found += entries([base, *(inside for inside in base.iterdir() if inside.is_dir())])
                folders.remove(name)
            if parent == str(ROOT):
                folders[:] = [] if _version_1() else folders
    return tuple({entry.path: entry for entry in found}.values())


def _version_1() -> bool:
    return not (ROOT / "cgroup.controllers").exists()


def entries(paths: Iterable[Path]) -> list[Entry]:
    """These, with their ages; those that are gone left out."""
    found = []
    now = _now()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            of = path.lstat()
            found.append(Entry(path=path, age_s=max(0.0, now - of.st_mtime), moved_s=max(0.0, now - of.st_ctime)))
    return found


def children(folder: Path) -> tuple[Entry, ...]:
    """What is in `folder`; nothing where there is none."""
    try:
        return tuple(entries(sorted(folder.iterdir())))
    except FileNotFoundError:
        return ()


def sockets(folder: Path) -> tuple[Entry, ...]:
    """The unix sockets in `folder`, with whether somebody listens."""
    listened = set()
    for line in (PROC / "net" / "unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and int(fields[3], 16) & _LISTENING:
            listened.add(fields[7])
    found = (entry for entry in children(folder) if entry.path.is_socket())
    return tuple(replace(entry, listened=str(entry.path) in listened) for entry in found)


def open_files(pid: int, folder: Path) -> tuple[Path, ...]:
    """What the process holds open below `folder`."""
    inside = []
    with contextlib.suppress(OSError):
        for name in os.listdir(PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(PROC / str(pid) / "fd" / name)
                if target.startswith(f"{folder}/"):
                    inside.append(Path(target.removesuffix(" (deleted)")))
    return tuple(inside)


def _now() -> float:
    return SystemClock().now().timestamp()
