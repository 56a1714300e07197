"""Control groups: the memory, process and CPU limits of a unit as a whole, and its freezer, on version 1 or 2, where we
may write.

`find` looks once at the node's start; a unit then gets its own groups below ours. Where nothing is writable the
answer says why, and the watchdog (`homeport.node.watch`) takes over, but for the CPU: without a group nothing limits
it. Never limits address space (RLIMIT_AS): programs
reserve far more than they use.
"""

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from homeport.node.freezer import Freezer

log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu", "freezer")
CPU_PERIOD_US = 100_000  # the kernel's own default: a unit waits no longer than this for its next share
OWN_TASKS = 3  # bubblewrap's own processes live in the unit's group: its monitor, its init, and one in passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Our directory per controller. version: 1, 2 or 0 for none. reason: why there is none."""

    version: int = 0
    memory: Path | None = None
    pids: Path | None = None
    cpu: Path | None = None
    freezer: Path | None = None
    reason: str = ""

    @property
    def memory_method(self) -> str:
        return f"cgroup v{self.version}" if self.memory else "watchdog"

    @property
    def pids_method(self) -> str:
        return f"cgroup v{self.version}" if self.pids else "watchdog"

    @property
    def cpu_method(self) -> str:
        return f"cgroup v{self.version}" if self.cpu else "none"

    @property
    def freezer_method(self) -> str:
        return f"cgroup v{self.version}" if self.freezer else "none"

    def bases(self) -> list[Path]:
        return list(dict.fromkeys(path for path in (self.memory, self.pids, self.cpu, self.freezer) if path))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitGroups:
    """The directories of one unit; also written beside the unit, so that a later node finds them."""

    version: int
    memory: Path | None = None
    pids: Path | None = None
    cpu: Path | None = None
    freezer: Freezer | None = None
    folders: list[Path] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        return {
            "version": self.version,
            "memory": str(self.memory) if self.memory else None,
            "pids": str(self.pids) if self.pids else None,
            "cpu": str(self.cpu) if self.cpu else None,
            "freezer": str(self.freezer.folder) if self.freezer else None,
        }

    @classmethod
    def from_json(cls, data: dict[str, object]) -> "UnitGroups":
        memory, pids, cpu, freezer = (Path(str(data[key])) if data.get(key) else None for key in CONTROLLERS)
        return cls(
            version=int(str(data["version"])),
            memory=memory,
            pids=pids,
            cpu=cpu,
            freezer=Freezer(freezer) if freezer else None,
            folders=list(dict.fromkeys(path for path in (memory, pids, cpu, freezer) if path)),
        )

    def peak_bytes(self) -> int | None:
        """The most memory that the unit held, None where the kernel does not keep it."""
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return _number(self.memory / name) if self.memory else None

    def oom_kills(self) -> int:
        """How many processes of the unit the kernel killed for memory."""
        if self.memory is None:
            return 0
        text = _text(self.memory / ("memory.events" if self.version == 2 else "memory.oom_control"))
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)

    def remove(self) -> bool:
        """Remove the empty groups. False while a process has not quite gone."""
        for folder in self.folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                log.warning("cannot remove %s: %s", folder, error)
        return True


def installation_name(data: Path) -> str:
    """What the installation in the absolute directory `data` calls its control groups."""
    return "homeport-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:12]


def find(name: str) -> Groups:
    """The groups that this process may use, as directories called `name`, made and tried."""
    reasons: list[str] = []
    for base in _version_2_parents():
        if groups := _try_version_2(base / name, reasons):
            return groups
    own = _own_version_1()
    memory = _try_version_1(own.get("memory"), name, reasons)
    pids = _try_version_1(own.get("pids"), name, reasons)
    cpu = _try_version_1(own.get("cpu"), name, reasons)
    freezer = _try_version_1(own.get("freezer"), name, reasons)
    if memory or pids or cpu or freezer:
        return Groups(version=1, memory=memory, pids=pids, cpu=cpu, freezer=freezer, reason="; ".join(reasons))
    return Groups(reason="; ".join(reasons) or "no control groups with the memory controller are mounted")


def plan(groups: Groups, unit: str, cpu_cores: float | None = None) -> UnitGroups:
    """The unit's groups; one for the CPU only where that is limited. Makes none."""
    bases = {"memory": groups.memory, "pids": groups.pids, "freezer": groups.freezer}
    if cpu_cores is not None:
        bases["cpu"] = groups.cpu
    return UnitGroups.from_json({"version": groups.version} | {key: base / unit for key, base in bases.items() if base})


def create(groups: Groups, unit: str, memory_mb: int, max_processes: int, cpu_cores: float | None = None) -> UnitGroups:
    """Make the unit's groups with their limits. Raises OSError."""
    limit = str(memory_mb * 1024 * 1024)
    made = plan(groups, unit, cpu_cores)
    memory, pids, cpu = made.memory, made.pids, made.cpu
    for folder in made.folders:
        folder.mkdir(mode=0o755, exist_ok=True)
    if memory and groups.version == 2:
        (memory / "memory.max").write_text(limit)
        _write_if_there(memory / "memory.swap.max", "0")
    elif memory:
        (memory / "memory.limit_in_bytes").write_text(limit)
        _write_if_there(memory / "memory.memsw.limit_in_bytes", limit)
    if pids:
        (pids / "pids.max").write_text(str(max_processes + OWN_TASKS))
    if cpu and cpu_cores is not None:
        _limit_cpu(cpu, groups.version, cpu_cores)
    return made


def _limit_cpu(folder: Path, version: int, cores: float) -> None:
    quota = max(1000, round(cores * CPU_PERIOD_US))  # the kernel refuses less than a millisecond
    try:
        if version == 2:
            (folder / "cpu.max").write_text(f"{quota} {CPU_PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        if error.errno != errno.EINVAL:  # version 1 says that for more than a group above allows, which then holds
            raise


def join(unit: UnitGroups) -> None:
    """Put the calling process into the unit's groups. Called in the child, before it changes its user."""
    for folder in unit.folders:
        (folder / "cgroup.procs").write_text("0")


def sweep(groups: Groups, living: Container[str]) -> None:
    """Remove empty groups of units that do not live, left by a node that was killed at a bad moment."""
    for folder in (entry for base in groups.bases() for entry in base.iterdir() if entry.is_dir()):
        if folder.name not in living:
            with contextlib.suppress(OSError):
                folder.rmdir()


def freezer_of(pid: int, name: str) -> Freezer | None:
    """The freezer of the group in which `pid` is, where that stands below a group with `name` in its own, or has it
    itself, and may be written."""
    for _, folder in _groups_of(pid, "freezer"):
        if name in str(folder) and (found := Freezer.at(folder)) and os.access(folder / "cgroup.procs", os.W_OK):
            return found
    return None


def peak_bytes_of(pid: int) -> int | None:
    """The most memory that the group held in which `pid` is, None where the kernel does not keep it, or not here."""
    found = (UnitGroups(version=version, memory=folder) for version, folder in _groups_of(pid, "memory"))
    return next((peak for groups in found if (peak := groups.peak_bytes()) is not None), None)


def _groups_of(pid: int, controller: str) -> Iterator[tuple[int, Path]]:
    """The groups in which `pid` is that may have this controller, each with its version: 1 before 2."""
    for line in _text(Path(f"/proc/{pid}/cgroup")).splitlines():
        _, names, path = line.split(":", 2)
        if not names:
            yield 2, ROOT / path.lstrip("/")
        elif controller in names.split(","):
            yield 1, ROOT / names / path.lstrip("/")


def remove(groups: Groups) -> None:
    """Remove our own directories at the node's end; they stay while a unit lives."""
    for base in groups.bases():
        with contextlib.suppress(OSError):
            base.rmdir()


def _version_2_parents() -> list[Path]:
    """Where a group of ours may stand: the top for root, else beside or below the group that we are in."""
    if "memory" not in _text(ROOT / "cgroup.controllers").split():
        return []
    own = next((line[3:] for line in _text(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::")), "/")
    here = ROOT / own.lstrip("/")
    return list(dict.fromkeys([*([ROOT] if os.geteuid() == 0 else []), here.parent if own != "/" else here, here]))


def _try_version_2(folder: Path, reasons: list[str]) -> Groups | None:
    try:
        for parent in (folder.parent, folder):
            parent.mkdir(exist_ok=True)
            if not {"memory", "pids"} <= set(_text(parent / "cgroup.subtree_control").split()):
                (parent / "cgroup.subtree_control").write_text("+memory +pids")
        _try_joining(folder, 2)
        cpu = _may_limit_cpu(folder)
    except OSError as error:
        reasons.append(f"{folder}: {error.strerror}")
        with contextlib.suppress(OSError):
            folder.rmdir()
        return None
    freezer = folder if Freezer.at(folder) else None
    return Groups(version=2, memory=folder, pids=folder, cpu=folder if cpu else None, freezer=freezer)


def _may_limit_cpu(folder: Path) -> bool:
    """Whether units below `folder` can have a CPU limit; a machine may keep that controller to itself."""
    try:
        for parent in (folder.parent, folder):
            if "cpu" not in _text(parent / "cgroup.subtree_control").split():
                (parent / "cgroup.subtree_control").write_text("+cpu")
    except OSError:
        return False
    return True


def _own_version_1() -> dict[str, Path]:
    """The directory of each version 1 controller in which this process is."""
    found = {}
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, names, path = line.split(":", 2)
        for controller in names.split(","):
            if controller in CONTROLLERS and (ROOT / controller).is_dir():
                inside = ROOT / controller / path.lstrip("/")
                found[controller] = inside if inside.is_dir() else ROOT / controller
    return found


def _try_version_1(own: Path | None, name: str, reasons: list[str]) -> Path | None:
    if own is None:
        return None
    folder = own if own.name == name else own / name
    try:
        folder.mkdir(exist_ok=True)
        _try_joining(folder, 1)
    except OSError as error:
        reasons.append(f"{folder}: {error.strerror}")
        return None
    return folder


def _try_joining(folder: Path, version: int) -> None:
    """Let a child go into a group and out of the world again. Raises OSError when it may not."""
    trial = folder / f"trial-{os.getpid()}"
    trial.mkdir()
    child = os.fork()
    if child == 0:
        try:
            join(UnitGroups(version=version, folders=[trial]))
            os._exit(0)
        except OSError as error:
            os._exit(min(error.errno or 1, 255))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    trial.rmdir()
    if code:
        raise OSError(code, os.strerror(code))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)
