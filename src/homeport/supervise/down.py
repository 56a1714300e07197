"""`homeport down`: asks the supervisor of a data directory to stop, or stops what a dead one left.

Called by the command line. Waits for the end and says what happened; never signals a process that it cannot prove to be
the one that was written down.
"""

import contextlib
import signal
import time
from dataclasses import replace
from typing import Any

from homeport.core.clock import SystemClock
from homeport.core.errors import Conflict, Unavailable
from homeport.settings import DataDir
from homeport.supervise.drain import DRAIN_S, Patience, Plant, Work, drain, show_waiting
from homeport.supervise.processes import Handle
from homeport.supervise.programs import end_containers, end_programs
from homeport.supervise.progress import Progress
from homeport.supervise.state import Book, Lock, UpState, read_state
from homeport.supervise.strays import with_strays
from homeport.supervise.takeover import NODE, end_component, stop_rank

_STOP_BOUND_S = 120.0  # the sum of the components' graces, and some more; the time to drain comes on top
_TURN_S = 0.2
_HURRY = "Ctrl-C: stop now"


def down(data: DataDir, progress: Progress, plant: Plant, drain_s: float | None = None) -> dict[str, Any] | None:
    """Stop the installation at `data`. drain_s: how long what is under way may go on, None for what `up` was told.
    Returns what was stopped (`Stopped.to_json`, empty when `up` was starting only), None when nothing ran. Raises
    `Unavailable` if it did not end in time, `Conflict` while another command starts or stops it."""
    if not data.state.exists():
        return None
    state = _read(data)
    supervisor = Handle.open(state.supervisor) if state.supervisor else None
    if supervisor is None:
        return _stop_leftovers(data, progress, plant, DRAIN_S if drain_s is None else drain_s)
    with supervisor:
        _ask(data, supervisor, progress, drain_s)
    # One that was killed meanwhile has left its components; those of an `up` that has come since are its own.
    with contextlib.suppress(Conflict):
        if (left := _stop_leftovers(data, progress, plant, 0.0)) is not None:
            return left
    return _read(data).stopped or {}


def _read(data: DataDir) -> UpState:
    try:
        return read_state(data)
    except ValueError as exc:
        raise Unavailable(f"{exc}.", hint=f"Remove {data.state} once nothing of Homeport runs here.") from exc


def _ask(data: DataDir, supervisor: Handle, progress: Progress, drain_s: float | None) -> None:
    """Have the supervisor stop, and follow how far it is. Ctrl-C hurries it, a second one leaves it alone. A stop that
    is under way already goes on as it was asked for, but for no time to drain."""
    pid = supervisor.identity.pid
    progress.step(f"stopping Homeport, process {pid}")
    under_way = _read(data).stopping is not None
    if under_way and drain_s:
        progress.warn("--drain has no effect: a stop is under way already")
    elif drain_s is not None:
        try:
            data.stop_request.write_text(f"{drain_s}\n")
        except OSError as exc:  # a full disk keeps nobody from stopping
            progress.warn(f"--drain has no effect: {data.stop_request}: {exc.strerror}")
    if under_way and drain_s != 0:
        supervisor.send(signal.SIGCONT)  # a second request would hurry it
    else:
        _signal(supervisor)
    try:
        _follow(data, supervisor, progress)
    except KeyboardInterrupt:
        progress.warn("stopping now, without waiting for what is under way")
        _signal(supervisor)
        _follow(data, supervisor, progress)
    progress.done(f"Homeport, process {pid}, stopped")


def _signal(supervisor: Handle) -> None:
    supervisor.send(signal.SIGTERM)
    supervisor.send(signal.SIGCONT)  # one that is halted could not obey


def _follow(data: DataDir, supervisor: Handle, progress: Progress) -> None:
    """Until the supervisor has ended. The bound holds from the last time on that it said how far it is."""
    clock = SystemClock()
    deadline = clock.monotonic() + _STOP_BOUND_S
    seen: object = None
    while not supervisor.ended(_TURN_S):
        stopping = _read(data).stopping
        if stopping and stopping != seen:
            seen, deadline = stopping, clock.monotonic() + _STOP_BOUND_S
            show_waiting(progress, stopping, stopping["leftSeconds"], _HURRY)
        elif stopping == {} and seen:
            progress.step("stopping what is left")
        if clock.monotonic() > deadline:
            raise Unavailable(
                f"Homeport, process {supervisor.identity.pid}, did not stop within {_STOP_BOUND_S:.0f} s.",
                hint="Look at its log, or send it SIGINT twice.",
            )


def _stop_leftovers(data: DataDir, progress: Progress, plant: Plant, drain_s: float) -> dict[str, Any] | None:
    """Stop components without a living supervisor. Another `up` that starts meanwhile holds the lock and owns them."""
    lock = Lock(data.lock)
    if not lock.take():
        hint = "Try again when it is done."
        raise Conflict(f"Another command starts or stops what runs with {data.root}.", hint=hint)
    try:
        book = Book(data, replace(with_strays(data, _read(data)), ready=False, stopping={}))
        living = {name: Handle.open(held) for name, held in book.state.components.items()}
        if not any(living.values()):
            book.state = replace(book.state, components={}, versions={})
            return {} if _end_rest(data, book, progress) else None
        # Should this be killed, the next `up` knows that these take nothing new any more.
        book.change(book.state)
        stopped = _drain(plant, progress, drain_s)
        for name in sorted(living, key=stop_rank):
            if (handle := living[name]) is not None:
                end_component(name, handle, progress)
            book.record(name, None)
        book.state = replace(book.state, stopped=stopped)
        _end_rest(data, book, progress)
        return stopped
    finally:
        lock.release()


def _end_rest(data: DataDir, book: Book, progress: Progress) -> bool:
    """End the programs of a node that was killed, which go on; after this nothing of the installation runs. Returns
    whether there were any."""
    end_containers(data, progress)
    ended = end_programs(data, progress, lambda node: book.record(NODE, node), sandboxed=book.state.sandboxed)
    data.remove_sockets()
    book.change(replace(book.state, supervisor=None, stopping=None))
    return ended


def _drain(plant: Plant, progress: Progress, drain_s: float) -> dict[str, Any]:
    hurried = False

    def wait(seconds: float) -> None:
        nonlocal hurried
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            hurried = True

    def tell(work: Work, left_s: float) -> None:
        show_waiting(progress, work.to_json(), left_s, _HURRY)

    patience = Patience(seconds=drain_s, unknown_s=0.0, wait=wait, hurried=lambda: hurried)
    return drain(plant, patience, SystemClock(), tell).to_json()
