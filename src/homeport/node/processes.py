"""What /proc tells about processes: start times, descendants, memory, listening ports, and signals by pidfd.

Called by the supervisor and the watchdog. Everything here reads the state of this moment; a process that vanishes
while it is looked at counts as gone, never as an error.
"""

import contextlib
import functools
import os
import signal
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"  # the state TCP_LISTEN in /proc/net/tcp


@functools.cache
def boot_id() -> str:
    """Names this boot of the machine: pids of an earlier one mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int | str) -> int | None:
    """When `pid` started, in clock ticks since the boot; None if it is gone. With the pid it names one process."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def parent(pid: int) -> int | None:
    """The parent's pid; None if `pid` is gone."""
    fields = stat_fields(pid)
    return int(fields[1]) if fields else None


def pid_namespace(pid: int) -> int | None:
    """The number of the pid namespace in which `pid` lives; None if it is gone or may not be looked at."""
    try:
        return os.stat(PROC / str(pid) / "ns" / "pid").st_ino
    except OSError:
        return None


def children_by_parent() -> dict[int, list[int]]:
    """Every process of the machine under its parent. One pass over /proc serves all units."""
    found: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if entry.isdigit() and (fields := stat_fields(entry)):
            found.setdefault(int(fields[1]), []).append(int(entry))
    return found


def descendants(root: int, tree: dict[int, list[int]] | None = None) -> list[int]:
    """The processes below `root`, without it. Orphans of a pid namespace go to its init, so below a sandbox's init
    these are all processes of the unit."""
    tree = children_by_parent() if tree is None else tree
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = tree.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def children_of(pid: int) -> list[int]:
    """The children of one process, without a pass over all of /proc where the kernel lists them."""
    try:
        return [int(word) for word in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except FileNotFoundError:
        return children_by_parent().get(pid, []) if start_ticks(pid) else []
    except OSError:
        return []


def resident_bytes(pids: Iterable[int]) -> int:
    """The sum of resident memory. Pages that processes share are counted once for each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
    return total


def proportional_bytes(pids: Iterable[int]) -> int:
    """Like `resident_bytes`, but shared pages are divided among those who share them. Slow: ask only in doubt."""
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        except OSError:
            total += resident_bytes([pid])
    return total


def thread_count(pids: Iterable[int]) -> int:
    """How many tasks (threads included) the processes have together: what a pids cgroup counts."""
    return sum(int(fields[17]) for pid in pids if (fields := stat_fields(pid)))


def tasks_of_user(uid: int) -> int:
    """How many tasks a user of this machine runs now."""
    total = 0
    for entry in os.listdir(PROC):
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.stat(PROC / entry).st_uid == uid:
                total += thread_count([int(entry)])
    return total


def listening_ports(pids: Iterable[int]) -> frozenset[int]:
    """The TCP ports on which exactly these processes listen: their own sockets, matched by inode."""
    inodes = set().union(*(_socket_inodes(pid) for pid in pids))
    if not inodes:
        return frozenset()
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and fields[9] in inodes:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return frozenset(ports)


def open_pidfd(pid: int) -> int | None:
    """A handle on `pid` that never means another process; None if it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each process, through a handle, so that a pid taken over in between is the only thing left to chance."""
    for pid in pids:
        if (handle := open_pidfd(pid)) is not None:
            signal_handle(handle, number)
            os.close(handle)


def signal_handle(handle: int, number: int) -> None:
    """Signal the process behind a pidfd; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def stat_fields(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; the name before them may hold anything."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields if len(fields) > 20 else None


def _socket_inodes(pid: int) -> set[str]:
    folder = PROC / str(pid) / "fd"
    inodes = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                target = os.readlink(folder / name)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    return inodes
