"""Processes that may not be our children: named by pid, start time and boot, held by pidfd.

Called by the supervisor, by `homeport down` and by the next `homeport up` that finds a dead one's components. A pid
alone is never signalled: it may belong to a stranger by now. Starts nothing by itself except through `spawn`.
"""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.core.errors import Denied
from homeport.core.units import signal_name
from homeport.node.processes import boot_id

_AS_OWNER = "Run this as the user that started Homeport, or as root."
_START_TIME_FIELD = 22  # of /proc/PID/stat, counted from one: clock ticks since boot
_ADMIT = 'read -r go && exec "$@" </dev/null'  # becomes the program only when told to; at end of input it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """One process for ever: `started` is in clock ticks since the boot named `boot`."""

    pid: int
    started: int
    boot: str

    def lives(self) -> bool:
        """Whether it is there now. Whoever is about to signal it holds it first: `Handle.open`."""
        return identify(self.pid) == self

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ProcessId":
        """Raises KeyError, TypeError or ValueError for anything else than what `to_json` made."""
        return cls(pid=int(data["pid"]), started=int(data["started"]), boot=str(data["boot"]))


def identify(pid: int) -> ProcessId | None:
    """The identity of the living process `pid`; None when it is gone or a zombie."""
    fields = _fields(pid)
    if not fields or fields[0] in ("Z", "X"):
        return None
    return ProcessId(pid=pid, started=int(fields[_START_TIME_FIELD - 3]), boot=boot_id())


def is_halted(pid: int) -> bool:
    """Whether a signal (SIGSTOP, or Ctrl-Z on a terminal) holds the process."""
    return _fields(pid)[:1] == ["T"]


def _fields(pid: int) -> list[str]:
    """Those of /proc/PID/stat from the state on; none when it is gone."""
    try:
        # The name, second field, may hold spaces and brackets: count from behind it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


class Handle:
    """A pidfd of a process. Close it when done; use it as a context manager."""

    def __init__(self, identity: ProcessId, pidfd: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.identity = identity
        self._pidfd = pidfd
        self._child = child

    @classmethod
    def open(cls, identity: ProcessId) -> "Handle | None":
        """Hold the process if it still lives and is the same one, else None."""
        if identity.boot != boot_id():
            return None
        try:
            pidfd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        # Compared after opening: from here on the pid cannot change hands unseen.
        if identify(identity.pid) != identity:
            os.close(pidfd)
            return None
        return cls(identity, pidfd)

    def fileno(self) -> int:
        """Readable, for poll, once the process has ended."""
        return self._pidfd

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended. Raises `Denied` for another user's process."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass
        except PermissionError as exc:
            raise Denied(f"Process {self.identity.pid} belongs to another user.", hint=_AS_OWNER) from exc

    def ended(self, timeout_s: float = 0.0) -> bool:
        """Whether the process has ended, waiting at most `timeout_s` seconds for it. Reaps our own children."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if not poller.poll(timeout_s * 1000):
            return False
        if self._child is not None:
            self._child.wait()
        return True

    @property
    def exit_code(self) -> int | None:
        """Once it has ended: its exit code, below zero for a signal; only our own children tell."""
        return self._child.poll() if self._child is not None else None

    def how(self) -> str:
        """How it ended, for people."""
        code = self.exit_code
        if code is None:
            return "ended"
        if code < 0:
            return f"was killed by {signal_name(-code)}"
        return f"ended with exit code {code}"

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Starting:
    """A process that waits at the door: it has a pid, and becomes its program at `admit`. If we die before that, it
    ends by itself, so no process can exist that is not written down first."""

    def __init__(self, handle: Handle, child: subprocess.Popen[bytes]) -> None:
        self.handle = handle
        self._child = child

    def admit(self) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(b"go\n")
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it died at the door; its pidfd says so


def spawn(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Starting:
    """Make the process that will run `argv` in a session of its own, with its output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _ADMIT, "homeport", *argv],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    identity = identify(child.pid)
    if identity is None:  # only if it was killed within these microseconds; it cannot have been reaped
        identity = ProcessId(pid=child.pid, started=0, boot=boot_id())
    return Starting(Handle(identity, os.pidfd_open(child.pid), child), child)
