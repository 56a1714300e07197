"""The kinds of things that can be left behind, one check each: a function of what was observed (pure).

A new kind is one more function in `CHECKS`. A check yields what nobody owns, and, as `pending`, what a running loop
removes by itself within the time that the check states; past that time it is a finding. What cannot tell a thing under
way from one left behind leaves that to the second look of `homeport.leaks.look`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from homeport.core.units import UnitKind, UnitStatus
from homeport.dataplane.headers import MODELS_SCOPE, PLATFORM_SCOPE
from homeport.leaks.finding import Finding
from homeport.leaks.machine import Entry, Process
from homeport.leaks.observation import Observation
from homeport.node.stage import stage_folder
from homeport.node.volumes import TRASH
from homeport.reconcile.garbage import INTERVAL_S, UPLOAD_WAIT_S, YOUNG_S
from homeport.supervise.strays import component_of
from homeport.supervise.takeover import GATEWAY
from homeport.workloads.states import ReplicaState

GARBAGE_S = (
    3 * INTERVAL_S
)  # a pass of the garbage loop comes within one interval; it takes some time, and may fail once
OLD_S = YOUNG_S + GARBAGE_S
TRASH_S = 60.0  # hundred thousand files take the remover some seconds
MOMENT_S = 10.0  # for what is made and renamed, or started and written down, in milliseconds
DRAIN_S = 120.0  # a replica's drain of thirty seconds, its grace and the pass that sees its end
END, REMOVE, TELL = "end it", "remove it", "do nothing: it is a fault of Homeport's, please report it"
LOOK = "look at what is in it, and remove it yourself"

Check = Callable[[Observation], Iterator[Finding]]


# Processes


def stray_components(seen: Observation) -> Iterator[Finding]:
    """Parts of Homeport that work for this directory and that `up` did not write down, and the `up` that starts them
    again and again, as when the directory was removed while it ran."""
    own = {*seen.components.values(), *([seen.supervisor] if seen.supervisor else [])}
    known = {process.pid: process for process in seen.processes}
    parents = {process.pid: process.parent for process in seen.processes}
    told = set()
    for process in seen.processes:
        name = component_of(process.words, seen.data)
        if not name or process.unit is not None or process.zombie or _below(process.pid, own, parents):
            continue
        part = "gateway" if name == GATEWAY else name
        yield _process(process, f"the {part} of this directory that `up` did not write down", pending=False)
        above = known.get(process.parent)
        if above is not None and "homeport.supervise" in above.words and above.pid not in told:
            told.add(above.pid)
            yield _process(above, "an `up` of this directory that is not written down", pending=False)


def processes_of_no_unit(seen: Observation) -> Iterator[Finding]:
    """Programs of units that the node does not know or that have ended, or that no node watches over."""
    for process in seen.processes:
        if process.unit is None or process.zombie:
            continue
        unit = seen.units.get(process.unit)
        if unit is None:
            yield _process(process, f"no node knows its unit {process.unit}", pending=False)
        elif not unit.state.alive:
            yield _process(process, f"its unit {process.unit} has ended", pending=False)
        elif not seen.owner:
            yield _process(process, f"its unit {process.unit} lives, and nothing of Homeport runs", pending=False)


def unreaped_processes(seen: Observation) -> Iterator[Finding]:
    """Ended children that a component of ours does not collect."""
    names = {pid: name for name, pid in seen.components.items()}
    for process in seen.processes:
        if process.zombie and process.parent in names and process.age_s > MOMENT_S:
            why = f"it has ended, and {names[process.parent]} does not collect it"
            yield Finding(kind="process", name=_words(process), why=why, action=TELL, age_s=process.age_s)


def removers(seen: Observation) -> Iterator[Finding]:
    """The program that empties the node's trash goes on when its node dies, and ends by itself."""
    for process in seen.processes:
        if _removes(process, seen) and process.parent != seen.components.get("node"):
            yield _process(process, "its node is gone; it ends once the trash is empty", pending=True)


# What the node leaves on the machine


def groups_of_no_unit(seen: Observation) -> Iterator[Finding]:
    """Control groups, of which the kernel keeps even empty ones."""
    lives = any(unit.state.alive for unit in seen.units.values())
    for group in seen.groups:
        unit = seen.units.get(group.name)
        if group.name == seen.group:
            if not seen.owner and not lives:
                yield _entry("cgroup", group, "no node runs")
        elif unit is None or not unit.state.alive:
            yield _entry("cgroup", group, f"no unit {group.name} lives")


def folders_of_no_unit(seen: Observation) -> Iterator[Finding]:
    for folder in seen.folders:
        if folder.name not in seen.units:
            yield _entry("directory", folder, f"the node knows no unit {folder.name}")


def trash(seen: Observation) -> Iterator[Finding]:
    """What units wrote, on its way out; the node's next start goes on with it."""
    removed = any(_removes(process, seen) for process in seen.processes)
    for entry in (*seen.trash, *seen.volume_trash):
        waits = removed or not seen.node_answers or entry.moved_s < TRASH_S
        yield _entry("directory", entry, "it is in the node's trash", pending=waits)


def open_files(seen: Observation) -> Iterator[Finding]:
    """What the node and `up` still hold open of units that have ended."""
    for path in sorted({*seen.open_files}):
        inside = path.relative_to(seen.data.node).parts
        unit = seen.units.get(inside[1]) if len(inside) > 1 else None
        if inside[0] == "trash" or (inside[0] == "units" and (unit is None or not unit.state.alive)):
            yield Finding(kind="open file", name=str(path), why="its unit does not live", action=TELL)


def drafts(seen: Observation) -> Iterator[Finding]:
    """Files that should have been renamed into their place."""
    for entry in seen.drafts:
        if entry.age_s > MOMENT_S:
            yield _entry("file", entry, "whoever wrote it did not finish, and begins anew")


# Sockets and what stands outside of the directory


def sockets(seen: Observation) -> Iterator[Finding]:
    for entry in seen.sockets:
        if not entry.listened:
            waits = seen.supervisor is not None and entry.age_s < DRAIN_S
            yield _entry("socket", entry, "nobody listens", pending=waits)


def places_outside(seen: Observation) -> Iterator[Finding]:
    for entry in seen.outside:
        if entry.path == seen.data.sockets:
            if not seen.owner:
                yield _entry("directory", entry, "nothing of Homeport runs")
        elif not (seen.node_answers or "node" in seen.components) or entry.path != stage_folder(seen.group):
            yield _entry("directory", entry, "the node that made it is gone")


# Units and rows


def units_of_no_row(seen: Observation) -> Iterator[Finding]:
    """What runs, and what of ended programs is kept, without anything that stands for it."""
    if seen.rows is None:
        return
    known = {replica.unit for replica in seen.rows.replicas} | {attempt.unit for attempt in seen.rows.attempts}
    for unit in seen.units.values():
        if unit.id in known:
            continue
        if unit.state.alive and unit.kind is UnitKind.BUILD:
            if unit.labels.get("revision") not in seen.rows.building:
                yield _unit(unit, "it builds a revision that is not being built", END, unit.started_at, seen)
        elif unit.state.alive:
            yield _unit(unit, "no replica and no attempt stands for it", END, unit.started_at, seen)
        elif unit.labels.get("resource") not in seen.rows.workloads:
            yield _unit(unit, "it has ended, and its workload is gone", REMOVE, unit.ended_at, seen)


def replicas(seen: Observation) -> Iterator[Finding]:
    """Rows that should have a program, or should be gone: each reserves a port."""
    for replica in seen.rows.replicas if seen.rows and seen.node_answers else ():
        age_s = _age(replica.changed_at, seen)
        unit = seen.units.get(replica.unit)
        missing = replica.state in (ReplicaState.STARTING, ReplicaState.READY) and (
            unit is None or not unit.state.alive
        )
        why = "its unit does not live" if missing else "it drains" if replica.state is ReplicaState.DRAINING else ""
        if why:
            name = f"replica {replica.id}, port {replica.port}"
            yield Finding(kind="row", name=name, why=why, action=TELL, age_s=age_s, pending=age_s < DRAIN_S)


def attempts(seen: Observation) -> Iterator[Finding]:
    """Open attempts without a program: the runner starts or closes them."""
    for attempt in seen.rows.attempts if seen.rows and seen.node_answers else ():
        unit = seen.units.get(attempt.unit)
        if unit is None or not unit.state.alive:
            age_s = _age(attempt.created_at if unit is None else unit.ended_at, seen)
            why = "it is open, and its unit does not live"
            name = f"attempt {attempt.unit}"
            yield Finding(kind="row", name=name, why=why, action=TELL, age_s=age_s, pending=age_s < DRAIN_S)


def orphans(seen: Observation) -> Iterator[Finding]:
    for orphan in seen.rows.orphans if seen.rows else ():
        name = f"{orphan.table} {orphan.name}"
        age_s = _age(orphan.since, seen) if orphan.since else None
        yield Finding(kind="row", name=name, why=orphan.why, action=TELL, age_s=age_s)


# Files of no row


def bundles(seen: Observation) -> Iterator[Finding]:
    for entry in seen.bundles if seen.rows else ():
        if seen.rows and entry.name not in seen.rows.digests:
            yield _entry("bundle", entry, "no revision has it", pending=_waits(entry, seen, OLD_S))


def sources(seen: Observation) -> Iterator[Finding]:
    for entry in seen.sources:
        if seen.rows and entry.path.stem not in seen.rows.digests:
            yield _entry("source", entry, "no revision has it", pending=_waits(entry, seen, OLD_S))


def uploads(seen: Observation) -> Iterator[Finding]:
    for entry in seen.uploads:
        yield _entry("upload", entry, "it is on its way in", pending=_waits(entry, seen, UPLOAD_WAIT_S + OLD_S))


def builds(seen: Observation) -> Iterator[Finding]:
    for entry in seen.builds:
        if seen.rows and entry.name not in seen.rows.building:
            yield _entry("build", entry, "its revision is not being built", pending=_waits(entry, seen, GARBAGE_S))


def volumes_of_no_record(seen: Observation) -> Iterator[Finding]:
    """Content of volumes that no row stands for, such as of those that are younger than a store that was put back from
    a copy. Only told: it may be all that there is of somebody's data."""
    for entry in seen.volumes if seen.rows else ():
        if seen.rows and entry.name not in seen.rows.volumes:
            found = _entry("volume data", entry, "no volume of the store has this id")
            yield replace(found, action=LOOK)
    for kept in seen.harbour.kept if seen.rows else ():
        if seen.rows and kept.unit not in seen.rows.volumes:
            why = f"no volume of the store has this id, on the engine of the region {kept.region}"
            yield Finding(kind="volume data", name=kept.name, why=why, action=LOOK, age_s=kept.age_s)


# The engines


def containers_of_no_unit(seen: Observation) -> Iterator[Finding]:
    """Containers of ours that no driver has written down, or that run while nothing of Homeport does."""
    for box in seen.harbour.containers:
        unit = seen.units.get(box.unit)
        if unit is None:
            why, action = f"no driver knows its unit {box.unit}", REMOVE
        elif box.alive and not unit.state.alive:
            why, action = f"its unit {box.unit} has ended", REMOVE
        elif box.alive and not seen.owner:
            why, action = f"its unit {box.unit} lives, and nothing of Homeport runs", REMOVE
        else:
            continue
        yield Finding(kind="container", name=box.name, why=why, action=action, age_s=box.age_s)


def steps_of_no_build(seen: Observation) -> Iterator[Finding]:
    """Engines remove them when a build ends, unless they were killed; then the next build does."""
    for step in seen.harbour.steps:
        waits = seen.rows is not None and bool(seen.rows.building)
        why = "no build runs"
        yield Finding(kind="container", name=step.name, why=why, action=REMOVE, age_s=step.age_s, pending=waits)


def networks_of_no_unit(seen: Observation) -> Iterator[Finding]:
    """Their driver removes them when it looks next."""
    workspaces = {box.workspace for box in seen.harbour.containers}
    for network in seen.harbour.networks:
        if network.workspace not in workspaces:
            waits = not seen.owner or network.age_s < GARBAGE_S
            why = "no container is in it"
            yield Finding(kind="network", name=network.name, why=why, action=REMOVE, age_s=network.age_s, pending=waits)


def volumes_of_no_container(seen: Observation) -> Iterator[Finding]:
    """Those that an image declares go with its container, unless somebody else removed that. Their driver removes them
    when the engine is back, or the server."""
    for volume in seen.harbour.volumes:
        why = "no container has it"
        yield Finding(kind="volume", name=volume.name, why=why, action=REMOVE, age_s=volume.age_s)


def images_of_nothing(seen: Observation) -> Iterator[Finding]:
    """Those that we built and that nothing keeps. What the store knows of is the garbage loop's; the rest is of builds
    that were killed before they were recorded."""
    rows = seen.rows
    for image in seen.harbour.images if rows else ():
        if rows and image.id not in rows.digests:
            waits = image.id in rows.brought or bool(rows.building)
            why = "no revision and no tag has it"
            yield Finding(kind="image", name=image.name, why=why, action=REMOVE, age_s=image.age_s, pending=waits)


# The gateway


def routes(seen: Observation) -> Iterator[Finding]:
    """Addresses in Envoy of what the store does not serve."""
    if seen.gateway is None or seen.rows is None:
        return
    platform = {"/".join(scope) for scope in (PLATFORM_SCOPE, MODELS_SCOPE)}
    for name in sorted(seen.gateway - seen.rows.routes - platform):
        yield Finding(kind="route", name=name, why="nothing in the store serves it", action=TELL)


CHECKS: tuple[Check, ...] = (
    stray_components,
    processes_of_no_unit,
    unreaped_processes,
    removers,
    groups_of_no_unit,
    folders_of_no_unit,
    trash,
    open_files,
    drafts,
    sockets,
    places_outside,
    units_of_no_row,
    replicas,
    attempts,
    orphans,
    bundles,
    sources,
    uploads,
    builds,
    volumes_of_no_record,
    containers_of_no_unit,
    steps_of_no_build,
    networks_of_no_unit,
    volumes_of_no_container,
    images_of_nothing,
    routes,
)


def check(seen: Observation) -> list[Finding]:
    """What all checks find, pending things among it."""
    return [finding for look in CHECKS for finding in look(seen)]


def _removes(process: Process, seen: Observation) -> bool:
    """Whether it empties the node's trash: a slow disk may take minutes for what a program made."""
    places = (str(seen.data.node / "trash"), str(seen.data.volumes / TRASH))
    return process.words[-1:] in [(place,) for place in places] and not process.zombie


def _below(pid: int, own: set[int], parents: dict[int, int]) -> bool:
    while pid > 1 and pid in parents:
        if pid in own:
            return True
        pid = parents[pid]
    return False


def _age(moment: datetime | None, seen: Observation) -> float:
    return 0.0 if moment is None else max(0.0, (seen.now - moment).total_seconds())


def _waits(entry: Entry, seen: Observation, bound_s: float) -> bool:
    """The garbage loop comes for it, now or after the next start."""
    return not seen.owner or entry.age_s < bound_s


def _words(process: Process) -> str:
    words = " ".join(process.words) or "a process without a command"
    return f"{process.pid} ({words if len(words) <= 80 else words[:79] + '…'})"


def _process(process: Process, why: str, *, pending: bool) -> Finding:
    return Finding(
        kind="process",
        name=_words(process),
        why=why,
        action=END,
        age_s=process.age_s,
        pending=pending,
        pid=process.pid,
        started=process.started,
    )


def _entry(kind: str, entry: Entry, why: str, *, pending: bool = False) -> Finding:
    path = str(entry.path)
    return Finding(kind=kind, name=path, why=why, action=REMOVE, age_s=entry.age_s, pending=pending, path=path)


def _unit(unit: UnitStatus, why: str, action: str, since: datetime | None, seen: Observation) -> Finding:
    """The garbage loop ends or forgets it, now or after the next start."""
    age_s = _age(since, seen)
    waits = not seen.owner or age_s < GARBAGE_S
    return Finding(kind="unit", name=unit.id, why=why, action=action, age_s=age_s, pending=waits, unit=unit.id)
