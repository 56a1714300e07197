"""How a unit ended: from what the sandbox wrote, why it was being ended, and what the kernel counted, to an `Outcome`.

Pure, but for `exact_status`, which asks the kernel. bubblewrap reports a death by signal n as exit code 128+n, as a
shell does, so a program that exits with such a code by itself looks the same; where the kernel keeps the true status
(Linux 6.15 and later) it decides, elsewhere 128+n of a signal that kills is read as that signal.
"""

import contextlib
import fcntl
import json
import os
import signal
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from homeport.core.units import Outcome

_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes)
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")
_INTENT_BYTES = 1024  # more than the longest, so that none leaves anything of the one before
_HARMLESS = {"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Why the node is ending a unit; the first cause stands. kill_at: when it is killed, by the clock that never steps;
    None before it was asked. Kept in a file for a node that comes after."""

    stopped: bool = False
    timed_out: bool = False
    out_of_memory: bool = False
    reason: str = ""
    kill_at: float | None = None

    @classmethod
    def timeout(cls, timeout_s: float) -> "Intent":
        return cls(timed_out=True, reason=f"timed out after {timeout_s:g} s")

    @classmethod
    def disk(cls, disk_mb: int) -> "Intent":
        return cls(reason=f"disk: more than {disk_mb} MB written")

    def save(self, path: Path) -> None:
        """In place, where a block is set aside for it, and as long as any other. A node that is killed in between
        leaves the one before, or this one."""
        with contextlib.suppress(OSError):  # the unit is ended all the same
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, json.dumps(asdict(self)).encode().ljust(_INTENT_BYTES))
            finally:
                os.close(handle)

    @classmethod
    def load(cls, path: Path) -> "Intent | None":
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What is known at the end. report: the sandbox's own, merged lines. monitor_code: the monitor's wait status as
    Python writes it, None for a process that a former node started. last_words: the last line on standard error."""

    report: dict[str, Any]
    intent: Intent | None = None
    exact: int | None = None
    monitor_code: int | None = None
    last_words: str = ""
    oom_kills: int = 0
    peak_bytes: int | None = None
    memory_mb: int = 0
    disk_mb: int = 0


def read_report(path: Path) -> dict[str, Any]:
    """The status lines that bubblewrap or its stand-in wrote, merged; a broken last line is left out. Raises OSError
    when the file is there and cannot be read."""
    found: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                found.update(json.loads(line))
    return found


def exact_status(handle: int) -> int | None:
    """The status of a process that was reaped, by its pidfd, as Python writes it; None where the kernel forgot."""
    buffer = bytearray(_PIDFD_INFO.size)
    struct.pack_into("=Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(handle, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    fields = _PIDFD_INFO.unpack(buffer)
    return os.waitstatus_to_exitcode(fields[-1]) if fields[0] & _PIDFD_INFO_EXIT else None


def outcome(traces: Traces) -> Outcome:
    """Put the traces together."""
    code, number, reason = _code_or_signal(traces)
    if code is None and number is None:
        return Outcome(lost=True, reason=reason, peak_memory_mb=_megabytes(traces.peak_bytes))
    intent = traces.intent or Intent()
    hungry = intent.out_of_memory or (traces.oom_kills > 0 and code != 0)
    if hungry:
        reason = f"out of memory: the limit is {traces.memory_mb} MB"
    elif number == signal.SIGXFSZ:
        reason = f"disk: a file of more than {traces.disk_mb} MB written; {reason}"
    elif intent.reason:
        reason = f"{intent.reason}; {reason}"
    return Outcome(
        exit_code=code,
        signal=number,
        timed_out=intent.timed_out,
        stopped=intent.stopped,
        out_of_memory=hungry,
        peak_memory_mb=_megabytes(traces.peak_bytes),
        reason=reason,
    )


def _code_or_signal(traces: Traces) -> tuple[int | None, int | None, str]:
    exact = traces.exact if _agree(traces.exact, traces.report) else None
    if exact is not None and exact < 0:
        return None, -exact, _name(-exact)
    if exact is not None and "exit-code" in traces.report:
        return exact, None, _code(exact, traces.last_words)
    if "signal" in traces.report:
        return None, traces.report["signal"], _name(traces.report["signal"])
    if "exit-code" in traces.report:
        code = traces.report["exit-code"]
        number = _fatal_signal(code)
        return (None, number, _name(number)) if number else (code, None, _code(code, traces.last_words))
    if traces.intent is not None:
        return None, int(signal.SIGKILL), _name(signal.SIGKILL)
    if traces.monitor_code is not None and traces.monitor_code < 0:
        return None, -traces.monitor_code, f"the sandbox itself was killed by {_name(-traces.monitor_code)}"
    if traces.monitor_code is not None:
        return 127, None, f"the command could not be started: {traces.last_words or 'the sandbox gave no reason'}"
    return None, None, "it ended while nobody could see how"


def _code(code: int, last_words: str) -> str:
    if code == 127 and last_words.startswith("prlimit: "):  # which stood before the command
        return f"the command could not be started: {last_words.removeprefix('prlimit: ')}"
    return f"exit code {code}"


def _agree(exact: int | None, report: dict[str, Any]) -> bool:
    """Whether the exact status may be of the process that the report is about: of a program that ended at once and
    left others behind, the node may hold one of those."""
    if exact is None or "signal" in report:
        return exact is not None and exact == -report["signal"]
    return "exit-code" not in report or report["exit-code"] == (128 - exact if exact < 0 else exact)


def _fatal_signal(code: int) -> int | None:
    with contextlib.suppress(ValueError):
        if signal.Signals(code - 128).name not in _HARMLESS and code - 128 < 32:
            return code - 128
    return None


def _name(number: int) -> str:
    try:
        return f"signal {int(number)} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _megabytes(size: int | None) -> int | None:
    return None if size is None else -(-size // (1024 * 1024))
