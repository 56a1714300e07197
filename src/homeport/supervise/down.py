"""`homeport down`: asks the supervisor of a data directory to stop, or stops what a dead one left.

Called by the command line. Waits for the end and says what happened; never signals a process that it cannot prove to be
the one that was written down.
"""

import signal

from homeport.core.clock import SystemClock
from homeport.core.errors import Unavailable
from homeport.settings import DataDir
from homeport.supervise.processes import Handle
from homeport.supervise.progress import Progress
from homeport.supervise.state import Lock, read_state, write_state
from homeport.supervise.supervisor import Grace, end

_STOP_BOUND_S = 120.0  # the sum of the components' graces, and some more
_ORDER = ("envoy", "edge", "server", "node")
_GRACE_S = {"node": 40.0}  # it stops its units first
_GRACE_OTHERS_S = 10.0
_TURN_S = 0.5


def down(data: DataDir, progress: Progress) -> bool:
    """Stop the installation at `data`. Returns whether anything ran. Raises `Unavailable` if it did not end in time."""
    if not data.state.exists():
        return False
    try:
        state = read_state(data)
    except ValueError as exc:
        raise Unavailable(f"{exc}.", hint=f"Remove {data.state} once nothing of Homeport runs here.") from exc
    ran = False
    supervisor = Handle.open(state.supervisor) if state.supervisor else None
    if supervisor is not None:
        with supervisor:
            ran = True
            _ask(supervisor, state.supervisor.pid if state.supervisor else 0, progress)
    return _stop_leftovers(data, progress) or ran


def _ask(supervisor: Handle, pid: int, progress: Progress) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + _STOP_BOUND_S
    progress.step(f"stopping Homeport, process {pid}")
    supervisor.send(signal.SIGTERM)
    while not supervisor.ended(_TURN_S):
        if clock.monotonic() > deadline:
            raise Unavailable(
                f"Homeport, process {pid}, did not stop within {_STOP_BOUND_S:.0f} s.",
                hint="Look at its log, or send it SIGINT twice.",
            )
    progress.done(f"Homeport, process {pid}, stopped")


def _stop_leftovers(data: DataDir, progress: Progress) -> bool:
    """Stop components without a living supervisor. Another `up` that starts meanwhile holds the lock and owns them."""
    lock = Lock(data.lock)
    if not lock.take():
        return False
    found = False
    clock = SystemClock()
    try:
        state = read_state(data)
        for name in sorted(state.components, key=lambda name: _ORDER.index(name) if name in _ORDER else -1):
            handle = Handle.open(state.components[name])
            if handle is not None:
                found = True
                progress.step(f"stopping {name}")
                with handle:
                    end(handle, Grace(seconds=_GRACE_S.get(name, _GRACE_OTHERS_S)), clock)
                progress.done(f"{name} stopped")
            state = state.with_component(name, None)
            write_state(data, state)
    finally:
        lock.release()
    return found
