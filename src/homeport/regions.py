"""Where workloads can run: the operator's configuration turned into the inventory that policies judge.

`local` is this machine and runs programs; every other region is an engine's and runs images. A flavor is detected
unless the operator names flavors; country, continent and location are what the operator says, and unknown until then.
Called by the server at its start.
"""

import platform

from homeport.configuration import DOCKER, LOCAL, Configuration, RegionTable
from homeport.policy.inventory import Flavor, Region

_MACHINES = {"x86_64": "x86", "aarch64": "arm"}


def regions_of(configuration: Configuration, driver: str) -> tuple[Region, ...]:
    """The regions of this installation, this machine first; `driver` runs its units, and each other region has a driver
    of its own, see `driver_name`."""
    others = [(name, said) for name, said in configuration.regions.items() if name != LOCAL]
    return (
        _region(LOCAL, configuration.local, driver),
        *(_region(name, said, driver_name(name)) for name, said in others),
    )


def driver_name(region: str) -> str:
    """The name of the driver of a region with an engine: one for each, since readers of ends keep a place by it."""
    return f"{DOCKER}.{region}"


def _region(name: str, said: RegionTable, driver: str) -> Region:
    return Region(
        name=name,
        country=said.country,
        continent=said.continent,
        location=said.location,
        aliases=said.aliases,
        flavors=_flavors(said.flavors),
        driver=driver,
        runs_images=said.driver == DOCKER,
    )


def _flavors(said: tuple[str, ...] | None) -> tuple[Flavor, ...]:
    if said is None:
        machine = platform.machine()
        return (Flavor(_MACHINES.get(machine, machine), "cpu"),)
    pairs = (text.rsplit("/", 1) for text in said)
    return tuple(Flavor(name, kind) for name, kind in pairs)
