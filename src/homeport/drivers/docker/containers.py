"""From a unit to the body that creates its container, and from what the engine says of a container to how it is.

Pure. Everything by which a container is found again stands in its labels, so that one is known for ours, and for which
unit's, whatever else is lost.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.errors import Invalid
from homeport.core.units import GATEWAY_NAME, UnitSpec, check_id

LABEL = "homeport."
LOG_FILES = 2  # of the engine for each container: full and filling; what was read is kept by us besides
OPEN_FILES = 16_384  # of one process; some programs walk through all that they might have open
_PERIOD_US = 100_000
_NEVER = "0001-"  # how the engine writes a time that has not come
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose containers and networks: one region of one installation. Both stand in every label and name."""

    installation: str
    region: str

    @property
    def labels(self) -> dict[str, str]:
        return {f"{LABEL}installation": self.installation, f"{LABEL}region": self.region}

    @property
    def filters(self) -> list[str]:
        """The labels as the engine's filters write them."""
        return [f"{name}={value}" for name, value in self.labels.items()]

    def container_name(self, unit: str) -> str:
        return f"homeport-{self.installation}-{unit}"

    def unit_in(self, name: str, labels: Mapping[str, str]) -> str | None:
        """The unit in the container that the engine calls `name`; None for one that is not ours. The labels alone do
        not tell: a Dockerfile may claim any, and then the containers of its steps have them."""
        unit = unit_of(labels)
        return unit if unit and name.removeprefix("/") == self.container_name(unit) else None

    def network_name(self, network: str) -> str:
        return f"homeport-{self.installation}-{self.region}.{network}"  # a dot is in neither of the two


class Phase(StrEnum):
    """CREATED: never started. ALIVE: has processes, frozen ones too. OVER: ended."""

    CREATED = "created"
    ALIVE = "alive"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the engine says of one container. `address`: as in `UnitStatus`. `error`: why its command could not be
    started, or nothing. written: the engine's directories to which it writes, by the place at which it sees each; none
    where its writable layer, which is at /, is no directory."""

    id: str
    phase: Phase
    paused: bool
    pid: int | None
    address: str | None
    exit_code: int
    out_of_memory: bool
    error: str
    started_at: datetime | None
    ended_at: datetime | None
    written: Mapping[str, str] = field(default_factory=dict)


def check(spec: UnitSpec) -> None:
    """Raises `Invalid` for what no container can be made of."""
    check_id(spec.id)
    if not spec.image:
        raise Invalid("image", "must be given: this region runs containers")
    if spec.bundle is not None or spec.mounts:
        raise Invalid("bundle", "must be absent: this region runs containers, which see no directory of this machine")
    for name, value in spec.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise Invalid("env", "must hold names without '=' and no NUL")


def creation(
    spec: UnitSpec,
    owner: Owner,
    accepted: datetime,
    *,
    gateway: str | None = None,
    publish_at: str | None = None,
    mounts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The body of the request that creates the unit's container. gateway: the address at which it reaches ours.
    publish_at: the address of the engine's machine at which its port is published, at whichever port is free there.
    mounts: its volumes."""
    memory = spec.memory_mb * _MIB
    host: dict[str, Any] = {
        "NetworkMode": owner.network_name(spec.network) if spec.network else "none",
        "Init": True,  # reaps orphans, and lets a first process die of a signal for which it has no handler
        "RestartPolicy": {"Name": "no"},  # who restarts is decided above
        "Memory": memory,
        "MemorySwap": memory,  # of memory and swap together: no swap
        "PidsLimit": spec.max_processes,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private",
        "Ulimits": [_limit("core", 0), _limit("nofile", OPEN_FILES), _limit("fsize", spec.largest_file_mb * _MIB)],
        "Mounts": [*mounts],
        "LogConfig": {"Type": "json-file", "Config": _log_bounds(spec.log_limit_bytes)},
    }
    if spec.cpu_cores is not None:
        host |= {"CpuPeriod": _PERIOD_US, "CpuQuota": int(spec.cpu_cores * _PERIOD_US)}
    if gateway:
        host["ExtraHosts"] = [f"{GATEWAY_NAME}:{gateway}"]
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": _labels(spec, owner, accepted),
        "HostConfig": host,
        "Healthcheck": {"Test": ["NONE"]},  # whether it serves is seen from outside; checks would run in frozen ones
        "AttachStdin": False,
        "OpenStdin": False,
        "Tty": False,
    }
    if spec.port is not None and publish_at:
        body["ExposedPorts"] = {f"{spec.port}/tcp": {}}
        host["PortBindings"] = {f"{spec.port}/tcp": [{"HostIp": publish_at, "HostPort": ""}]}
    if spec.workdir:
        body["WorkingDir"] = spec.workdir
    if spec.argv:
        body |= {"Entrypoint": list(spec.argv), "Cmd": []}
    return body


def declared(owner: Owner, paths: Iterable[str], taken: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The volumes that an image declares, which go with the container, but for where there is one already."""
    there = {mount["Target"] for mount in taken}
    free = (path for path in paths if path not in there)
    return [{"Type": "volume", "Target": path, "VolumeOptions": {"Labels": owner.labels}} for path in free]


def facts(inspected: Mapping[str, Any]) -> Facts:
    """Read an answer of `Engine.inspect`."""
    state = inspected["State"]
    started, ended = _moment(state.get("StartedAt")), _moment(state.get("FinishedAt"))
    alive = state.get("Status") in ("running", "paused", "restarting", "stopping")
    failed = state.get("Status") == "created" and (state.get("ExitCode") or state.get("Error"))
    over = state.get("Status") in ("exited", "dead", "removing", "stopped") or failed
    network = inspected.get("NetworkSettings") or {}
    published = [one for bindings in (network.get("Ports") or {}).values() for one in bindings or ()]
    addresses = [_socket(one["HostIp"], one["HostPort"]) for one in published]
    addresses += [one["IPAddress"] for one in (network.get("Networks") or {}).values() if one.get("IPAddress")]
    return Facts(
        id=inspected["Id"],
        paused=alive and bool(state.get("Paused")),
        phase=Phase.ALIVE if alive else Phase.OVER if over else Phase.CREATED,
        pid=(state.get("Pid") or None) if alive else None,
        address=addresses[0] if alive and addresses else None,
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        started_at=started,
        ended_at=ended,
        written=_written(inspected),
    )


def _socket(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def adopted(labels: Mapping[str, str]) -> tuple[UnitSpec, datetime] | None:
    """The unit of a container by its labels alone, and when it was accepted; None where they do not tell."""
    try:
        spec = UnitSpec.from_json({**json.loads(labels[f"{LABEL}spec"]), "argv": (), "env": {}})
        return spec, parse_timestamp(labels[f"{LABEL}accepted"])
    except (KeyError, TypeError, ValueError):
        return None


def unit_of(labels: Mapping[str, str]) -> str | None:
    """The id of the unit to which a container with these labels belongs."""
    return labels.get(f"{LABEL}unit")


def _written(inspected: Mapping[str, Any]) -> dict[str, str]:
    layer = ((inspected.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    found = [one for one in inspected.get("Mounts") or () if one.get("Type") == "volume" and one.get("RW")]
    return {"/": layer, **{one["Destination"]: one["Source"] for one in found}} if layer else {}


def _labels(spec: UnitSpec, owner: Owner, accepted: datetime) -> dict[str, str]:
    """For machines the whole in one, for people and their filters the usual parts."""
    known = spec.without_secrets().to_json()
    whole = {name: value for name, value in known.items() if name not in ("argv", "env", "mounts")}
    return {
        **owner.labels,
        f"{LABEL}unit": spec.id,
        f"{LABEL}generation": str(spec.generation),
        f"{LABEL}kind": spec.kind.value,
        f"{LABEL}workspace": spec.network or "",
        f"{LABEL}accepted": timestamp(accepted),
        f"{LABEL}spec": json.dumps(whole),
    }


def _limit(name: str, number: int) -> dict[str, Any]:
    return {"Name": name, "Soft": number, "Hard": number}


def _log_bounds(limit: int) -> dict[str, str]:
    return {"max-size": f"{max(limit // LOG_FILES, 64 * 1024)}", "max-file": str(LOG_FILES)}


def _moment(text: str | None) -> datetime | None:
    """A time as the engine writes it, to the microsecond; None where it has not come."""
    if not text or text.startswith(_NEVER):
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
