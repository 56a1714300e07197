"""Volumes that outlive containers: volumes of the engine, by a name and labels of their own, so that nothing which
clears up after containers takes one for theirs. Used by the docker driver and by `homeport gc`.

The engine makes one when the first container has it, and fills it once with what the image has at that place, its owner
included: that is how a program that is not root may write there.
"""

from collections.abc import Mapping
from typing import Any

from homeport.core.errors import Conflict
from homeport.core.ids import UnitId
from homeport.core.units import UnitSpec, VolumeMount, check_id
from homeport.drivers.docker.containers import LABEL, Owner
from homeport.drivers.docker.engine import Engine, EngineError

_KEPT = f"{LABEL}kept"


def volume_name(owner: Owner, volume: str) -> str:
    check_id(UnitId(volume))
    return f"homeport-{owner.installation}-{owner.region}.{volume}"  # a dot is in none of the three


def labels_of(owner: Owner, volume: str) -> dict[str, str]:
    """Not those of containers and of what goes with them."""
    return {f"{_KEPT}.installation": owner.installation, f"{_KEPT}.region": owner.region, f"{_KEPT}.volume": volume}


def filters_of(owner: Owner) -> list[str]:
    """The labels by which all of them are found, as the engine's filters write them."""
    return [f"{name}={value}" for name, value in labels_of(owner, "").items() if value]


def volume_in(labels: Mapping[str, str]) -> str:
    """The id of the volume with these labels."""
    return labels.get(f"{_KEPT}.volume", "")


def mounts_of(spec: UnitSpec, owner: Owner) -> list[dict[str, Any]]:
    """The unit's volumes as the engine takes them; those that begin empty go with the container."""
    return [_mount(mount, owner) for mount in spec.volumes]


def _mount(mount: VolumeMount, owner: Owner) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": "volume", "Target": mount.path, "ReadOnly": not mount.writable}
    if mount.volume is None:
        return {**found, "VolumeOptions": {"Labels": owner.labels}}
    options = {"Labels": labels_of(owner, mount.volume)}
    return {**found, "Source": volume_name(owner, mount.volume), "VolumeOptions": options}


async def discard(engine: Engine, owner: Owner, volume: str) -> None:
    """Remove its content. Raises `Conflict` while a container has it, somebody else's too."""
    try:
        await engine.remove_volume(volume_name(owner, volume))
    except EngineError as error:
        if error.status != 409:
            raise
        raise Conflict(f"The volume {volume} is still in use: {error.message}") from error
