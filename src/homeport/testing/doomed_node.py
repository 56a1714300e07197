"""A real node that kills itself at one of its steps: `python -m homeport.testing.doomed_node TRAP NODE-OPTIONS…`.

TRAP is a file. While it holds a number n, the n-th step from then on is not taken: SIGKILL comes instead. A step is
anything that others see: a file made, written, renamed, removed or synchronised, a process started or signalled. Used
by the tests that kill the node at every step of what it does.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeport.node import journal, main

_EVENTS = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.chown", "os.truncate",
    "subprocess.Popen",
}  # fmt: skip
_PATCHED = ("fsync", "write", "mkfifo", "ftruncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Trap:
    """Counts the steps of this process, not of those that it forks."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pid = os.getpid()
        self._taken = 0

    def step(self) -> None:
        if os.getpid() != self._pid or not os.path.exists(self._file):
            return
        handle = os.open(self._file, os.O_RDONLY)
        wanted = int(os.read(handle, 20) or b"0")
        os.close(handle)
        self._taken += 1
        if self._taken == wanted:
            os.kill(self._pid, signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS or (event == "open" and _is_write(arguments)):
            self.step()

    def before(self, name: str) -> None:
        """Make each call of `os.NAME` a step."""
        real: Callable[..., Any] = getattr(os, name)

        def stepping(*arguments: Any, **more: Any) -> Any:
            self.step()
            return real(*arguments, **more)

        setattr(os, name, stepping)


def _is_write(arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(path, str | bytes) and not str(path).startswith("/proc/") and bool(flags & _WRITES)


if __name__ == "__main__":
    trap = Trap(Path(sys.argv[1]))
    for name in _PATCHED:
        trap.before(name)
    sys.addaudithook(trap.audit)
    journal.REWRITE_AFTER = 2  # every unit that is forgotten rewrites the journal
    sys.exit(main.run(sys.argv[2:]))
