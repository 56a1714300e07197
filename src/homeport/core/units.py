"""Units: what a driver runs. One unit is one replica, one attempt of a task, or one build, in one sandbox.

Shared by the drivers (server side) and the node (which owns the processes), so it imports little and every shape
turns into plain JSON and back. Paths are absolute paths of the host unless a comment says otherwise.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from signal import Signals
from typing import Any

from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.errors import Conflict, DriverUnavailable, Invalid, NotFound
from homeport.core.ids import UnitId

TIMEOUT_GRACE_S = 0.5  # a unit's time is over within a second of its timeout, whatever its own grace
SIGNALS_MOST = 64  # the highest number on Linux
DISK_MB = 10 * 1024  # far more than a program leaves that keeps its data elsewhere
LOOPBACK = "127.0.0.1"  # of this machine, which programs share
GATEWAY_NAME = "gateway.homeport.internal"  # as programs in containers know this installation's gateway
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class UnitKind(StrEnum):
    """What a unit is for; it decides nothing in the sandbox, it names the unit to people."""

    REPLICA = "replica"
    TASK = "task"
    BUILD = "build"


class UnitState(StrEnum):
    """STARTING: accepted and journalled, not yet a process. RUNNING: a process. EXITED: ended, outcome known.
    LOST: ended, and nobody can know how."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"

    @property
    def alive(self) -> bool:
        return self in (self.STARTING, self.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory or file of the host shown in the sandbox. `source` must exist when the unit starts."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume in a unit's sight, at `path`. volume: the id by which the driver knows its content, which outlives
    units; None for one that begins empty and goes with the unit. name: what its owner calls it. size_mb: what may be in
    it. alone: of the units that have it, this one must be the only one that lives."""

    path: str
    name: str
    size_mb: int
    volume: str | None = None
    writable: bool = True
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSpec:
    """All that is needed to start a unit; immutable, and journalled before the process starts.

    argv: the command, looked up in the sandbox. env: the whole environment, nothing is inherited. workdir: a path in
    the sandbox. bundle: a directory of the host that appears at /app with a private writable layer over it, so the
    program may write there and nobody else sees it; None for none. memory_mb, max_processes and cpu_cores: limits of
    the whole unit; cpu_cores None is no limit, and without a control group for it nothing limits it. disk_mb: what the
    unit may write to its layer over the bundle and to its home directory together. timeout_s: after it the unit is
    asked to end (SIGTERM) and killed TIMEOUT_GRACE_S later; None for no limit. stop_grace_s: from SIGTERM to SIGKILL
    where a node that stops ends it. generation: a driver refuses to start an older
    generation of the same id.

    image: what a driver of containers runs, as a reference that its engine has already; None for a driver of programs.
    With one, argv replaces the image's own command unless it is empty, and an empty workdir is the image's own.
    network: the name of the private network that the container joins (a workspace's); None for no network at all.
    port: the TCP port on which it serves; None for what serves nobody.
    volumes: directories of its own kind: see `VolumeMount`. A driver starts no unit that would share one with another
    living unit if either is to be alone with it.
    region: where it runs, for whoever holds the drivers of several; a driver does not look at it.
    """

    id: UnitId
    kind: UnitKind
    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    workdir: str = "/app"
    bundle: str | None = None
    mounts: tuple[Mount, ...] = ()
    memory_mb: int = 2048
    max_processes: int = 512
    disk_mb: int = DISK_MB
    cpu_cores: float | None = None
    timeout_s: float | None = None
    stop_grace_s: float = 10.0
    log_limit_bytes: int = 64 * 1024 * 1024
    generation: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    image: str | None = None
    network: str | None = None
    region: str = ""
    port: int | None = None
    volumes: tuple[VolumeMount, ...] = ()

    @property
    def largest_file_mb(self) -> int:
        """What a single file may have that the unit writes, wherever it may write."""
        return max(self.disk_mb, *(mount.size_mb for mount in self.volumes if mount.writable), 0)

    def has_volume(self, volume: str) -> bool:
        return any(mount.volume == volume for mount in self.volumes)

    def rival(self, others: Iterable["UnitSpec"]) -> "UnitSpec | None":
        """One of `others`, which live, that has a volume with which either must be alone."""
        mine = {mount.volume: mount for mount in self.volumes if mount.volume is not None}
        for other in others:
            for theirs in other.volumes:
                ours = mine.get(theirs.volume or "")
                if other.id != self.id and ours is not None and (ours.alone or theirs.alone):
                    return other
        return None

    def without_secrets(self) -> "UnitSpec":
        """What must be known of a unit beyond its start."""
        return replace(self, argv=(), env={}, mounts=())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "UnitSpec":
        mounts = tuple(Mount(**mount) for mount in data.get("mounts", ()))
        volumes = tuple(VolumeMount(**mount) for mount in data.get("volumes", ()))
        read = {"kind": UnitKind(data["kind"]), "argv": tuple(data["argv"]), "mounts": mounts, "volumes": volumes}
        known = {**data, **read}
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a unit ended. Exactly one of `exit_code` and `signal` is set, unless it was `lost` (neither).

    timed_out: the unit's own timeout ended it. stopped: somebody asked it to stop. out_of_memory: the kernel or the
    watchdog killed it for memory. peak_memory_mb: None where it could not be measured. reason: one line for people.
    """

    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    stopped: bool = False
    out_of_memory: bool = False
    lost: bool = False
    peak_memory_mb: int | None = None
    reason: str = ""

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Outcome":
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """What a driver knows of a unit. `pid` is the sandbox's process on the host, None before and after it lives.
    `address`: where its ports are reached from here, or `address:port` where the one that it serves on is reached at
    another; None for this machine's loopback, which it shares. `endpoint_of` reads it. `frozen`: it
    lives, and stands still until it is thawed."""

    id: UnitId
    kind: UnitKind
    state: UnitState
    pid: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    labels: dict[str, str] = field(default_factory=dict)
    address: str | None = None
    frozen: bool = False

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["started_at"] = timestamp(self.started_at) if self.started_at else None
        data["ended_at"] = timestamp(self.ended_at) if self.ended_at else None
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "UnitStatus":
        outcome = Outcome.from_json(data["outcome"]) if data.get("outcome") else None
        moments = {key: parse_timestamp(data[key]) if data.get(key) else None for key in ("started_at", "ended_at")}
        states = {"kind": UnitKind(data["kind"]), "state": UnitState(data["state"])}
        return cls(**{**data, **moments, **states, "outcome": outcome})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitExit:
    """One end of a unit in the driver's journal. `seq` grows and is never reused: the reader's cursor."""

    seq: int
    status: UnitStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a unit's output. `stream` is "stdout" or "stderr"; `offset` is where the next line begins, the
    cursor for the next read."""

    time: datetime
    stream: str
    text: str
    offset: int


def require_running(unit: UnitId, status: "UnitStatus | None") -> UnitStatus:
    """Its status. Raises `NotFound` for a unit that is unknown, `Conflict` for one without a process."""
    if status is None:
        raise NotFound(f"There is no unit {unit}.")
    if status.state is not UnitState.RUNNING:
        raise Conflict(f"The unit {unit} does not run: it is {status.state}.")
    return status


def require_alone(spec: UnitSpec, living: Iterable[UnitSpec]) -> None:
    """Raises `DriverUnavailable` while one of `living` has a volume with which either must be alone."""
    if (rival := spec.rival(living)) is not None:
        raise DriverUnavailable(f"A volume of the unit {spec.id} is still in use by {rival.id}.")


def check_id(unit: UnitId) -> None:
    """Raises `Invalid` for what cannot name a directory and a container."""
    if not _ID.fullmatch(unit):
        raise Invalid("id", "must be 1 to 128 letters, digits, dots, hyphens and underscores", value=unit)


def check_signal(number: int) -> None:
    """Raises `Invalid` for what no unit may be sent."""
    if not 1 <= number <= SIGNALS_MOST or number == Signals.SIGSTOP:
        raise Invalid("number", f"must be a signal's number, 1 to {SIGNALS_MOST}, and not SIGSTOP", value=number)


def endpoint_of(address: str | None, port: int) -> tuple[str, int]:
    """The IP address and the port at which `port` of a unit is reached, whose status says `address`."""
    if not address:
        return LOOPBACK, port
    try:
        return str(ip_address(address)), port
    except ValueError:
        host, _, published = address.rpartition(":")
        return host.strip("[]"), int(published)


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; the number where this machine has no name for it."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
