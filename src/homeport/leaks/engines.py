"""What the container engines of an installation hold of it: containers, networks, volumes. Called by the observation
and by the removal; decides nothing.

Asked beside the running server. An engine that does not answer shows nothing.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from homeport.configuration import read_configuration
from homeport.core.clock import SystemClock
from homeport.core.errors import Unavailable
from homeport.core.units import UnitStatus
from homeport.drivers.docker import containers
from homeport.drivers.docker.building import builder_filters, is_ours, is_step
from homeport.drivers.docker.engine import EngineError, Json
from homeport.drivers.docker.kept import filters_of, volume_in
from homeport.engines import Engines
from homeport.node.journal import read_units
from homeport.settings import DataDir

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One container, network, volume or image. id: the engine's; of an image without the name of the algorithm. unit:
    the container's; of a volume that outlives containers, its id. workspace: whose network it is in, or is. alive: it
    has processes."""

    region: str
    id: str
    name: str
    age_s: float
    unit: str = ""
    workspace: str = ""
    alive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Harbour:
    """Everything. steps: containers that run a step of a build of ours. volumes: those that no container has. kept: of
    these the ones that outlive containers. images: those that we built, once for each name. units: what the drivers
    have written down of their own."""

    containers: tuple[Kept, ...] = ()
    steps: tuple[Kept, ...] = ()
    networks: tuple[Kept, ...] = ()
    volumes: tuple[Kept, ...] = ()
    kept: tuple[Kept, ...] = ()
    images: tuple[Kept, ...] = ()
    units: tuple[UnitStatus, ...] = ()


def look_at_engines(data: DataDir) -> Harbour:
    engines = Engines(read_configuration(data.config), data)
    if not engines.drivers:
        return Harbour()
    held, nets, kept, built, steps, lasting = [], [], [], [], [], []
    for region, (boxes, networks, volumes, images, builds, data_of) in _apart(_ask_all(engines)).items():
        owner = engines.drivers[region].owner
        built += [one for found in images for one in _named(region, found) if is_ours(owner, one.name)]
        steps += [_container(region, found) for found in builds if is_step(found["Labels"])]
        held += [_container(region, found) for found in boxes]
        nets += [_made(region, found, "Created") for found in networks]
        kept += [_made(region, found, "CreatedAt") for found in volumes]
        lasting += [replace(_made(region, found, "CreatedAt"), unit=volume_in(found["Labels"])) for found in data_of]
    # Last: what is written down after its container was made, and kept until that is gone, is then known.
    units = [unit for region in engines.drivers for unit in read_units(data.engine(region) / "journal")]
    return Harbour(
        containers=tuple(held),
        steps=tuple(steps),
        networks=tuple(nets),
        volumes=tuple(kept),
        kept=tuple(lasting),
        images=tuple(built),
        units=tuple(units),
    )


def remove_kept(data: DataDir, kind: str, name: str) -> None:
    """Remove the container, network, volume or image of that name, wherever it is. Raises `Unavailable`."""

    async def remove() -> None:
        engines = Engines(read_configuration(data.config), data)
        for engine in engines.engines.values():
            try:
                ways = {
                    "container": engine.remove,
                    "network": engine.remove_network,
                    "volume": engine.remove_volume,
                    "image": engine.remove_image,
                }
                await ways[kind](name)
            except EngineError as error:
                raise Unavailable(error.message) from error
            finally:
                await engine.close()

    _apart(remove())


async def _ask_all(engines: Engines) -> dict[str, tuple[list[Json], ...]]:
    found: dict[str, tuple[list[Json], ...]] = {}
    for region, engine in engines.engines.items():
        owner = engines.drivers[region].owner
        found[region] = (
            await _asked(engine.containers(owner.filters)),
            await _asked(engine.networks(owner.filters)),
            await _asked(engine.unused_volumes(owner.filters)),
            await _asked(engine.images()),  # all of them: those of ours are known by name
            await _asked(engine.containers(builder_filters(owner))),
            await _asked(engine.unused_volumes(filters_of(owner))),
        )
        await engine.close()
    return found


async def _asked(answer: Awaitable[list[Json]]) -> list[Json]:
    try:
        return await answer
    except (Unavailable, EngineError):
        return []


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """In a thread of its own: whoever looks may run an event loop already."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


def _container(region: str, found: Json) -> Kept:
    return Kept(
        region=region,
        id=found["Id"],
        name=found["Names"][0].removeprefix("/"),
        age_s=max(0.0, SystemClock().now().timestamp() - found["Created"]),
        unit=containers.unit_of(found["Labels"]) or "",
        workspace=found["Labels"].get(f"{containers.LABEL}workspace", ""),
        alive=found["State"] not in ("exited", "dead", "created"),
    )


def _named(region: str, found: Json) -> list[Kept]:
    """An image by each of its names."""
    age_s = max(0.0, SystemClock().now().timestamp() - found["Created"])
    ident = found["Id"].removeprefix("sha256:")  # Podman says it without
    return [Kept(region=region, id=ident, name=name, age_s=age_s) for name in found.get("RepoTags") or ()]


def _made(region: str, found: Json, when: str) -> Kept:
    """A network or a volume; `when` is what the engine calls the time at which it was made."""
    made = datetime.fromisoformat(found[when]).astimezone(UTC)
    return Kept(
        region=region,
        id=found.get("Id") or found["Name"],
        name=found["Name"],
        age_s=max(0.0, (SystemClock().now() - made).total_seconds()),
        workspace=found["Labels"].get(f"{containers.LABEL}workspace", ""),
    )
