"""One look at an installation: what its directory, its store, its node, its gateway and this machine show.

Everything is read beside the running processes, without their help where possible, so that the answer does not depend
on what is being examined; the node and the gateway are asked for what only they know. Changes nothing. The parts are
read one after another, so a thing on its way can look like nobody's: `homeport.leaks.look` looks again.
"""

import json
import socket
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from homeport.core.clock import SystemClock
from homeport.core.errors import DriverUnavailable, Unavailable
from homeport.core.ids import WORKLOADS, Kind
from homeport.core.private import drafts_of
from homeport.core.units import UnitStatus
from homeport.dataplane.resources import gateway_names
from homeport.leaks import machine
from homeport.leaks.engines import Harbour, look_at_engines
from homeport.leaks.machine import Entry, Process
from homeport.node import protocol
from homeport.node.cgroups import installation_name
from homeport.node.host import TRIAL
from homeport.node.journal import read_units
from homeport.node.stage import stage_folder
from homeport.node.volumes import TRASH
from homeport.reconcile.observation import read_workloads
from homeport.reconcile.routes import route_of
from homeport.settings import DataDir
from homeport.store.contract import Transaction
from homeport.store.records import Attempt, Orphan, Replica
from homeport.store.sqlite import read_beside
from homeport.supervise import probe
from homeport.supervise.region import draft_of
from homeport.supervise.state import read_state
from homeport.workloads.states import RevisionState

ANSWER_S = 5.0  # for the node and the gateway
_DUMP = "/config_dump?resource="


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the store says. routes: the names of what the gateway is to know. brought: the images that engines have
    because of us, which the garbage loop removes once nothing needs them."""

    replicas: tuple[Replica, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    building: frozenset[str] = frozenset()
    workloads: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    brought: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    orphans: tuple[Orphan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """supervisor: the pid of the living `up`. components: the pids of the living components that it wrote down, by
    name. node_answers: False where the units are read from the journal. units: all that the node knows. rows, gateway:
    None where there is no store, and where no gateway answers; gateway holds the names of its routes and clusters."""

    data: DataDir
    now: datetime
    supervisor: int | None = None
    components: dict[str, int] = field(default_factory=dict)
    node_answers: bool = False
    units: dict[str, UnitStatus] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()
    groups: tuple[Entry, ...] = ()
    folders: tuple[Entry, ...] = ()
    trash: tuple[Entry, ...] = ()
    volumes: tuple[Entry, ...] = ()
    volume_trash: tuple[Entry, ...] = ()
    sockets: tuple[Entry, ...] = ()
    outside: tuple[Entry, ...] = ()
    drafts: tuple[Entry, ...] = ()
    open_files: tuple[Path, ...] = ()
    bundles: tuple[Entry, ...] = ()
    sources: tuple[Entry, ...] = ()
    uploads: tuple[Entry, ...] = ()
    builds: tuple[Entry, ...] = ()
    harbour: Harbour = field(default_factory=Harbour)
    rows: Rows | None = None
    gateway: frozenset[str] | None = None

    @property
    def group(self) -> str:
        return installation_name(self.data.root)

    @property
    def owner(self) -> bool:
        """Whether somebody watches over the components, or they go on by themselves."""
        return self.supervisor is not None or bool(self.components)


def observe(data: DataDir) -> Observation:
    """Look. Raises `Unavailable` where the store or the state of `up` cannot be read."""
    try:
        state = read_state(data)
    except ValueError as error:
        raise Unavailable(f"{error}.", hint=f"Stop what is left of Homeport here, then remove {data.state}.") from error
    group = installation_name(data.root)
    components = {name: identity.pid for name, identity in state.components.items() if identity.lives()}
    supervisor = state.supervisor.pid if state.supervisor and state.supervisor.lives() else None
    holders = (components.get("node"), supervisor)
    processes = machine.processes(group, data.node / "units")
    folders, groups = machine.children(data.node / "units"), machine.groups(group)
    harbour = look_at_engines(data)
    # The node and the store last: what is written down before it is made, and removed after it is gone, is then known.
    units, answers = _units(data)
    return Observation(
        data=data,
        now=SystemClock().now(),
        supervisor=supervisor,
        components=components,
        node_answers=answers,
        units=units | {unit.id: unit for unit in harbour.units},
        harbour=harbour,
        processes=processes,
        groups=groups,
        folders=folders,
        trash=machine.children(data.node / "trash"),
        volumes=tuple(entry for entry in machine.children(data.volumes) if entry.name != TRASH),
        volume_trash=machine.children(data.volumes / TRASH),
        sockets=machine.sockets(data.sockets),
        outside=tuple(machine.entries(_outside(data, group))),
        drafts=tuple(machine.entries(_drafts(data))),
        open_files=tuple(path for pid in holders if pid for path in machine.open_files(pid, data.node)),
        bundles=machine.children(data.bundles),
        sources=machine.children(data.sources),
        uploads=machine.children(data.uploads),
        builds=machine.children(data.builds),
        gateway=_gateway(data),
        rows=read_beside(data.database, _read_rows) if data.database.exists() else None,
    )


def _outside(data: DataDir, group: str) -> list[Path]:
    """What an installation makes outside of its directory."""
    elsewhere = [] if data.sockets.is_relative_to(data.root) else [data.sockets]
    stage = stage_folder(group)
    return [*elsewhere, stage, *stage.parent.glob(f"{group}-*-stage")]


def _drafts(data: DataDir) -> list[Path]:
    """Files that are renamed into their place, or removed, within a moment: only names that we give ourselves, since
    the operator may keep other things beside them."""
    return [
        *(path for path in (data.state.with_suffix(".new"), draft_of(data.config)) if path.exists()),
        *drafts_of(data.admin_key),
        *drafts_of(data.signing_key),
        *drafts_of(data.sealing_key),
        *data.node.glob("*.new"),
        *data.node.glob(f"{TRIAL}*"),
        *data.root.glob(f"{TRIAL}*"),
    ]


def _units(data: DataDir) -> tuple[dict[str, UnitStatus], bool]:
    """The node's units, and whether it said so itself; those of its journal while it is away."""
    try:
        units = [UnitStatus.from_json(found) for found in _ask_node(data.socket("node"))]
        return {unit.id: unit for unit in units}, True
    except DriverUnavailable:
        return {unit.id: unit for unit in read_units(data.node / "journal")}, False


def _ask_node(path: Path) -> list[dict[str, Any]]:
    request = json.dumps({"method": "units", "params": {}}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline(protocol.LINE_BYTES))
        result: list[dict[str, Any]] = answer["result"]
        return result
    except (OSError, ValueError, KeyError) as error:
        raise DriverUnavailable(detail=f"node socket {path}: {error}") from error


def _gateway(data: DataDir) -> frozenset[str] | None:
    """The names of the gateway's clusters and routes, None while it does not answer."""
    kinds = ("dynamic_active_clusters", "dynamic_route_configs", "dynamic_scoped_route_configs")
    try:
        return frozenset(name for kind in kinds for name in _dumped(data.socket("envoy-admin"), kind))
    except (OSError, HTTPException, ValueError):
        return None


def _dumped(admin: Path, kind: str) -> list[str]:
    configs = json.loads(probe.ask(admin, "GET", _DUMP + kind, ANSWER_S)).get("configs", [])
    parts = {"dynamic_active_clusters": "cluster", "dynamic_route_configs": "route_config"}
    if kind in parts:
        return [config[parts[kind]]["name"] for config in configs]
    return [scoped["name"] for config in configs for scoped in config.get("scoped_route_configs", [])]


def _read_rows(tx: Transaction) -> Rows:
    now = SystemClock().now()
    found = (route_of(one.resource, one.revisions, one.replicas) for one in read_workloads(tx))
    names = gateway_names([route for route in found if route is not None])
    return Rows(
        replicas=tuple(tx.replicas.every()),
        attempts=tuple(attempt for attempt, _ in tx.executions.open_attempts()),
        building=frozenset(revision.id for revision in tx.revisions.in_states([RevisionState.BUILDING])),
        workloads=frozenset(uid for kind in (*WORKLOADS, Kind.IMAGE) for uid in tx.resources.uids(kind)),
        volumes=frozenset(tx.resources.uids(Kind.VOLUME)),
        digests=frozenset(tx.revisions.digests() | tx.images.digests()),
        brought=frozenset(image.digest for image in tx.images.brought()),
        routes=frozenset(names),
        orphans=tuple(tx.orphans(now)),
    )
