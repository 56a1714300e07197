"""The mechanical killer: a whole Homeport of which one process is killed at one step of one operation.

`Killable` is a system whose server and node announce their steps (`homeport.testing.steps`) to a `Gallows`; that counts
them, and at the step of a `Shot` kills the victim before it lets the process go on. Used by
tests/e2e/test_killed_at_every_step.py, which says what is an operation and what must be true afterwards.
"""

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from homeport.supervise import probe
from homeport.supervise.processes import Handle
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

DEATH_S = 10.0

_HOOK = """
import sys
if any(word in ("homeport.server", "homeport.node", "homeport.supervise") for word in sys.orig_argv):
    try:
        from homeport.testing.steps import install
        install({address!r}, {data!r})
    except BaseException:  # what is hooked was renamed: no component may go on without its steps
        import os, traceback
        traceback.print_exc()
        os._exit(70)
"""


@dataclass(frozen=True, slots=True)
class Shot:
    """Kill `victim` at the `number`-th step that `place` announces during `operation`."""

    operation: str
    place: str
    number: int
    victim: str

    def __str__(self) -> str:
        return f"{self.operation}:{self.place}:{self.number}:{self.victim}"


class Gallows:
    """Listens to the steps. `counts` are those since `watch`, by place; `hit` is the step at which the victim died."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._folder = tempfile.TemporaryDirectory(prefix="steps-")
        self.address = str(Path(self._folder.name) / "s")
        self.counts: Counter[str] = Counter()
        self.hit = ""
        self._shot: Shot | None = None
        self._turn = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        hook = _HOOK.format(address=self.address, data=str(system.data.root))
        (self.hook_folder / "sitecustomize.py").write_text(hook)
        threading.Thread(target=self._accept, name="gallows", daemon=True).start()

    @property
    def hook_folder(self) -> Path:
        return Path(self._folder.name)

    def watch(self, shot: Shot | None) -> None:
        """Count from here, and shoot once."""
        with self._turn:
            self.counts.clear()
            self.hit, self._shot = "", shot

    def rest(self) -> None:
        """Shoot no more."""
        with self._turn:
            self._shot = None

    def close(self) -> None:
        self._listener.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(connection,), name="gallows.one", daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        # A killed process ends its connection, at whatever moment.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            for line in lines:
                place, _, step = line.decode().strip().partition(" ")
                self._announced(place, step)
                connection.sendall(b".")

    def _announced(self, place: str, step: str) -> None:
        with self._turn:
            self.counts[place] += 1
            shot = self._shot
            if shot is None or shot.place != place or shot.number != self.counts[place]:
                return
            self._shot = None
            self.hit = step
            kill(self._system, shot.victim)


def kill(system: System, victim: str) -> None:
    """SIGKILL, and return once it is dead; a component that is being restarted at the moment is dead already."""
    state = read_state(system.data)
    identity = state.supervisor if victim == "up" else state.components.get(victim)
    handle = Handle.open(identity) if identity is not None else None
    if handle is not None:
        with handle:
            handle.send(signal.SIGKILL)
            assert handle.ended(DEATH_S), f"{victim} does not die"


class Killable(System):
    """A system whose components announce their steps to `gallows`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gallows = Gallows(self)

    def down(self, *, drain_s: float = 0) -> None:
        self.gallows.rest()
        super().down(drain_s=drain_s)
        self.gallows.close()

    def whole_again(self, victim: str) -> None:
        """Every component lives and answers; `up` is started again if it was the victim."""
        if victim == "up":
            self.up()
        eventually(self._whole, "every component is back")

    def _whole(self) -> bool:
        return self.lives() and probe.ready(self.url)[0]

    def _environment(self) -> dict[str, str]:
        inherited = super()._environment()
        path = os.pathsep.join(filter(None, [str(self.gallows.hook_folder), inherited.get("PYTHONPATH", "")]))
        return {**inherited, "PYTHONPATH": path}
