"""`homeport up`: one installation brought up, watched, and stopped when asked.

The order is: lock, what the host must offer, the components of a dead `up`, port, components, readiness. Called by
`homeport.supervise.__main__`; decides nothing about terminals and parses no arguments.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from homeport.configuration import read_configuration
from homeport.core.clock import SystemClock
from homeport.core.errors import Conflict, HomeportError, Invalid, Unavailable
from homeport.settings import DataDir
from homeport.supervise import probe
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.ports import choose_port
from homeport.supervise.processes import Handle, ProcessId, identify
from homeport.supervise.progress import Progress
from homeport.supervise.region import set_local_region
from homeport.supervise.state import Lock, UpState, read_state, write_state
from homeport.supervise.supervisor import Component, Grace, StopAsked, Supervisor, end

log = logging.getLogger(__name__)

STOPPED_BEFORE_READY = 130  # the exit code of a program that Ctrl-C ended
_GRACE_S = {"node": 40.0}  # what a component of a dead `up` gets to end by itself: the node stops its units first
_GRACE_OTHERS_S = 10.0
_ADOPTED = "node"  # it owns running replicas and tasks, so it is taken over alive


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What the operator asked for. port None: the last one, or 8080, or the next free one."""

    data: DataDir
    port: int | None = None
    host: str = "127.0.0.1"
    sandboxed: bool = True
    country: str | None = None
    continent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What differs between the real system and a test of the supervision: the components for a port and host, and the
    check of the host, which raises `HomeportError` with the cause and the mend, and returns remarks for people."""

    components: Callable[[UpOptions, int], Sequence[Component]]
    check_host: Callable[[UpOptions], Sequence[str]]


class _Book:
    """The state file, kept as things happen."""

    def __init__(self, data: DataDir, state: UpState) -> None:
        self._data = data
        self.state = state

    def change(self, state: UpState) -> None:
        self.state = state
        write_state(self._data, state)

    def record(self, name: str, identity: ProcessId | None) -> None:
        self.change(self.state.with_component(name, identity))


def up(
    options: UpOptions,
    parts: Parts,
    *,
    interrupts: Interrupts,
    progress: Progress,
    on_ready: Callable[[UpState], None],
) -> int:
    """Run until asked to stop; returns the exit code. Calls `on_ready` once everything answers. Raises
    `HomeportError` when it cannot start; then nothing that it started is left."""
    data = options.data
    lock = _take_place(data)
    try:
        before = _read(data)
        own = identify_self()
        # Written down before anything takes time, so that `down` finds this start from its first moment on.
        write_state(data, replace(before, supervisor=own, ready=False))
        progress.step("looking at this machine")
        for remark in parts.check_host(options):
            progress.warn(remark)
        set_local_region(data.config, options.country, options.continent)
        read_configuration(
            data.config
        )  # refused here, where somebody reads it, and not by a server that starts in vain
        adopted = _take_over(before, options, progress)
        port, moved = choose_port(options.host, options.port, before.port)
        if moved:
            progress.warn(moved)
        # An adopted component stays written down from the first moment on.
        kept = {_ADOPTED: adopted.identity} if adopted is not None else {}
        state = UpState(port=port, host=options.host, sandboxed=options.sandboxed, supervisor=own, components=kept)
        book = _Book(data, state)
        book.change(state)
        supervisor = Supervisor(
            parts.components(options, port),
            record=book.record,
            interrupts=interrupts,
            progress=progress,
            clock=SystemClock(),
        )
        if adopted is not None:
            supervisor.adopt(_ADOPTED, adopted)
        return _live(supervisor, book, progress, on_ready)
    finally:
        progress.close()
        lock.release()


def identify_self() -> ProcessId:
    """This process."""
    own = identify(os.getpid())
    assert own is not None
    return own


def _live(supervisor: Supervisor, book: _Book, progress: Progress, on_ready: Callable[[UpState], None]) -> int:
    url = book.state.url
    try:
        supervisor.start()
        supervisor.wait_for("the gateway's first answer", lambda: probe.ready(url))
        book.change(replace(book.state, ready=True))
        progress.close()
        on_ready(book.state)
        supervisor.watch()
        return 0
    except StopAsked:
        return STOPPED_BEFORE_READY
    finally:
        book.change(replace(book.state, ready=False))
        supervisor.stop()
        book.change(replace(book.state, supervisor=None))
        progress.close()


def prepare(data: DataDir) -> None:
    """Make the data directory. Raises `Invalid` where that is not possible."""
    try:
        data.create()
    except OSError as exc:
        hint = "Choose another directory with --data."
        raise Invalid("--data", f"cannot be used: {exc.strerror}", value=str(data.root), hint=hint) from exc


def _take_place(data: DataDir) -> Lock:
    prepare(data)
    lock = Lock(data.lock)
    if lock.take():
        return lock
    state = _read(data)
    who = f"process {state.supervisor.pid}" if state.supervisor else "another process"
    where = f", {'at' if state.ready else 'starting at'} {state.url}" if state.port else ""
    raise Conflict(
        f"Homeport already runs with {data.root}: {who}{where}.",
        hint=f"Stop it with `homeport down --data {data.root}`, or use another --data.",
    )


def _read(data: DataDir) -> UpState:
    try:
        return read_state(data)
    except ValueError as exc:
        # Whatever it named cannot be found through it; going on would leave those processes running unseen.
        hint = f"Stop what is left of Homeport here, then remove {data.state}."
        raise Unavailable(f"{exc}.", hint=hint) from exc


def _take_over(before: UpState, options: UpOptions, progress: Progress) -> Handle | None:
    """End what a dead `up` left running; return the living node to adopt, if it may go on as it is."""
    adopted = None
    clock = SystemClock()
    for name, identity in reversed(before.components.items()):
        handle = Handle.open(identity)
        if handle is None:
            continue
        if name == _ADOPTED and before.sandboxed == options.sandboxed:
            adopted = handle
            continue
        progress.step(f"ending {name} of the earlier start")
        with handle:
            end(handle, Grace(seconds=_GRACE_S.get(name, _GRACE_OTHERS_S)), clock)
        progress.done(f"{name} of an earlier start, process {identity.pid}, ended")
    return adopted


def explain(error: HomeportError) -> str:
    """`error` as people read it, with its next step on a line of its own."""
    return f"{error.message}\n{error.hint}".strip()
