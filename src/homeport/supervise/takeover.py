"""What an `up` does with the components that a dead one left: those that are what it would start go on, others end.

Called by `up` before it starts anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from homeport.core.clock import SystemClock
from homeport.supervise.ports import choose_port
from homeport.supervise.processes import Handle
from homeport.supervise.progress import Progress
from homeport.supervise.state import UpState
from homeport.supervise.supervisor import Component, Grace, end, kill

GATEWAY, NODE = "envoy", "node"
STOP_ORDER = ("envoy", "edge", "server", "node")
_GRACE_S = {NODE: 40.0}  # it ends its programs first
_GRACE_OTHERS_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """The port to use, the components to run, and those of them that run already."""

    port: int
    components: Sequence[Component]
    handles: dict[str, Handle]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """host, port: what the operator asked for, None for the last one. sandboxed: as in `UpOptions`. components: what
    is to run for a port."""

    host: str
    port: int | None
    sandboxed: bool
    components: Callable[[int], Sequence[Component]]


def take_over(before: UpState, wanted: Wanted, progress: Progress) -> TakenOver:
    """Find what lives, end what must not go on, choose the port. Raises `Conflict` when the port is taken."""
    living = {}
    for name in sorted(before.components, key=stop_rank):
        if (handle := Handle.open(before.components[name])) is not None:
            living[name] = handle
    node = living.get(NODE)
    if node is not None and before.sandboxed != wanted.sandboxed:
        end_component(NODE, living.pop(NODE), progress)  # its programs must not go on as they are
    port = _kept_port(before, wanted) if GATEWAY in living else None
    if port is None:
        if GATEWAY in living:
            end_component(GATEWAY, living.pop(GATEWAY), progress)
        port, moved = choose_port(wanted.host, wanted.port, before.port)
        if moved:
            progress.warn(moved)
    components = wanted.components(port)
    versions = {component.name: component.version for component in components}
    for name in [*living]:
        if before.stopping is not None and name != NODE:
            end_component(name, living.pop(name), progress)  # it takes nothing new any more
        elif versions.get(name) != before.versions.get(name):
            end_component(name, living.pop(name), progress, at_once=name == NODE)
    return TakenOver(port=port, components=components, handles=living)


def stop_rank(name: str) -> int:
    """In which order components are ended: whatever depends on another one, before it."""
    return STOP_ORDER.index(name) if name in STOP_ORDER else -1


def end_component(name: str, handle: Handle, progress: Progress, *, at_once: bool = False) -> None:
    """End a component of an earlier `up`. `at_once`, a node leaves its programs to the next one."""
    progress.step(f"stopping {name}")
    with handle:
        if at_once:
            kill(handle)
        else:
            end(handle, Grace(seconds=_GRACE_S.get(name, _GRACE_OTHERS_S)), SystemClock())
    progress.done(f"{name} of an earlier start, process {handle.identity.pid}, stopped")


def _kept_port(before: UpState, wanted: Wanted) -> int | None:
    """The port of the gateway that runs, if it is the wanted one."""
    same = before.host == wanted.host and wanted.port in (None, before.port)
    return before.port if same else None
