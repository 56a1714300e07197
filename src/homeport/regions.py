"""Where workloads can run: the operator's configuration turned into the inventory that policies judge.

One region, `local`: this machine. Its flavor is detected unless the operator names its flavors; its country, continent
and location are what the operator says, and unknown until then. Called by the server at its start.
"""

import platform

from homeport.configuration import LOCAL, Configuration
from homeport.policy.inventory import Flavor, Region

_MACHINES = {"x86_64": "x86", "aarch64": "arm"}


def regions_of(configuration: Configuration, driver: str) -> tuple[Region, ...]:
    """The regions of this installation, whose units `driver` runs."""
    said = configuration.local
    return (
        Region(
            name=LOCAL,
            country=said.country,
            continent=said.continent,
            location=said.location,
            aliases=said.aliases,
            flavors=_flavors(said.flavors),
            driver=driver,
        ),
    )


def _flavors(said: tuple[str, ...] | None) -> tuple[Flavor, ...]:
    if said is None:
        machine = platform.machine()
        return (Flavor(_MACHINES.get(machine, machine), "cpu"),)
    pairs = (text.rsplit("/", 1) for text in said)
    return tuple(Flavor(name, kind) for name, kind in pairs)
