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
from homeport.supervise.drain import DRAIN_S, Patience, Plant, Stopped, Work, drain, show_waiting
from homeport.supervise.holding import PipeHolder
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.processes import Handle, ProcessId, identify, is_halted
from homeport.supervise.programs import end_containers, end_programs
from homeport.supervise.progress import Progress
from homeport.supervise.region import set_local_region
from homeport.supervise.state import Book, Lock, UpState, read_state, write_state
from homeport.supervise.strays import with_strays
from homeport.supervise.supervisor import Component, StopAsked, Supervisor
from homeport.supervise.takeover import NODE, Wanted, take_over

log = logging.getLogger(__name__)

STOPPED_BEFORE_READY = 130  # the exit code of a program that Ctrl-C ended
_UNKNOWN_S = 20.0  # a server that was killed during a stop is back by then
_TOLD_EVERY_S = 0.5  # between two writings of how far a stop is


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What the operator asked for. port None: the last one, or 8080, or the next free one. drain_s: how long a stop
    waits for what is under way."""

    data: DataDir
    port: int | None = None
    host: str = "127.0.0.1"
    sandboxed: bool = True
    country: str | None = None
    continent: str | None = None
    drain_s: float = DRAIN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What differs between the real system and a test of the supervision: the components for a port and host, and the
    check of the host, which raises `HomeportError` with the cause and the mend, and returns remarks for people. plant:
    what is drained before a stop."""

    components: Callable[[UpOptions, int], Sequence[Component]]
    check_host: Callable[[UpOptions], Sequence[str]]
    plant: Callable[[DataDir], Plant]


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
    pipes = PipeHolder(data.socket("pipes"))
    try:
        pipes.start()
        for of_a_stop in (data.stop_request, data.pause_mark):
            of_a_stop.unlink(missing_ok=True)  # that was not carried out, or is over
        before = with_strays(data, _read(data))
        own = identify_self()
        # Written down before anything takes time, so that `down` finds this start from its first moment on.
        write_state(data, replace(before, supervisor=own, ready=False))
        progress.step("looking at this machine")
        for remark in parts.check_host(options):
            progress.warn(remark)
        set_local_region(data.config, options.country, options.continent)
        # Refused here, where somebody reads it, and not by a server that starts in vain.
        read_configuration(data.config)
        wanted = Wanted(
            host=options.host,
            port=options.port,
            sandboxed=options.sandboxed,
            components=lambda port: parts.components(options, port),
        )
        taken = take_over(before, wanted, progress)
        # What was taken over stays written down from the first moment on.
        kept = {name: handle.identity for name, handle in taken.handles.items()}
        state = UpState(
            port=taken.port,
            host=options.host,
            sandboxed=options.sandboxed,
            supervisor=own,
            components=kept,
            versions={name: version for name, version in before.versions.items() if name in kept},
        )
        book = Book(data, state)
        book.change(state)
        supervisor = Supervisor(
            taken.components, book=book, interrupts=interrupts, progress=progress, clock=SystemClock()
        )
        for name, handle in taken.handles.items():
            supervisor.adopt(name, handle)
        run = _Run(options, supervisor, book, interrupts, progress)
        return run.live(parts.plant(data), on_ready)
    finally:
        progress.close()
        pipes.stop()
        lock.release()


def identify_self() -> ProcessId:
    """This process."""
    own = identify(os.getpid())
    assert own is not None
    return own


@dataclass(frozen=True, slots=True)
class _Run:
    """One life, from the start of the components to their end."""

    options: UpOptions
    supervisor: Supervisor
    book: Book
    interrupts: Interrupts
    progress: Progress

    def live(self, plant: Plant, on_ready: Callable[[UpState], None]) -> int:
        url = self.book.state.url
        stopped: Stopped | None = None
        try:
            self.supervisor.start()
            self.supervisor.wait_for("the gateway's first answer", lambda: probe.ready(url))
            self.book.change(replace(self.book.state, ready=True))
            self.progress.close()
            on_ready(self.book.state)
            self.supervisor.watch()
            stopped = self._drain(plant)
            return 0
        except StopAsked:
            return STOPPED_BEFORE_READY
        finally:
            self.book.change(replace(self.book.state, ready=False, stopping={}))
            self.supervisor.stop()
            end_containers(self.options.data, self.progress)
            self._end_programs()
            self.options.data.remove_sockets()
            told = stopped.to_json() if stopped else None
            self.book.change(replace(self.book.state, supervisor=None, stopping=None, stopped=told))
            for line in stopped.sentences() if stopped else ():
                self.progress.say(line)
            self.progress.close()

    def _end_programs(self) -> None:
        """A node that was killed while it stopped has left programs."""
        sandboxed = self.options.sandboxed
        end_programs(self.options.data, self.progress, lambda node: self.book.record(NODE, node), sandboxed=sandboxed)

    def _drain(self, plant: Plant) -> Stopped:
        clock = SystemClock()
        patience = Patience(
            seconds=_asked_to_wait_s(self.options),
            unknown_s=_UNKNOWN_S,
            wait=self.supervisor.tend,
            hurried=lambda: self.interrupts.count >= 2,
        )
        told_at = -_TOLD_EVERY_S

        def tell(work: Work, left_s: float) -> None:
            nonlocal told_at
            if clock.monotonic() - told_at >= _TOLD_EVERY_S:
                told_at = clock.monotonic()
                awaited = {**work.to_json(), "leftSeconds": round(left_s, 1)}
                self.book.change(replace(self.book.state, stopping=awaited))
            show_waiting(self.progress, work.to_json(), left_s, "Ctrl-C: stop now")

        self.book.change(replace(self.book.state, ready=False, stopping={}))
        return drain(plant, patience, clock, tell)


def _asked_to_wait_s(options: UpOptions) -> float:
    """What `down` asked for, else what `up` was told at its start."""
    try:
        return float(options.data.stop_request.read_text())
    except (OSError, ValueError):
        return options.drain_s


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
    holder = Handle.open(state.supervisor) if state.supervisor else None
    if holder is None:
        raise Conflict(f"Another command is stopping what runs with {data.root}.", hint="Try again when it is done.")
    with holder:
        pid = holder.identity.pid
        doing = "stopping" if state.stopping is not None else "running" if state.ready else "starting"
        where = f" at {state.url}" if state.port else ""
        mend = f"Stop it with `homeport down --data {data.root}`, or use another --data."
        if is_halted(pid):
            doing, mend = "halted by a signal", f"`kill -CONT {pid}` lets it go on. {mend}"
        raise Conflict(f"Homeport already runs with {data.root}: process {pid}, {doing}{where}.", hint=mend)


def _read(data: DataDir) -> UpState:
    try:
        return read_state(data)
    except ValueError as exc:
        # Whatever it named cannot be found through it; going on would leave those processes running unseen.
        hint = f"Stop what is left of Homeport here, then remove {data.state}."
        raise Unavailable(f"{exc}.", hint=hint) from exc


def explain(error: HomeportError) -> str:
    """`error` as people read it, with its next step on a line of its own."""
    return f"{error.message}\n{error.hint}".strip()
