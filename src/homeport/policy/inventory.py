"""What exists: regions and the flavors that each offers. Snapshots; the operator's configuration makes them.

Called by the decision and by placement. It does not guess: what the operator has not said is None, and a country is
never turned into a continent, because a rule that opens by a guess is a rule that can open by a mistake.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.spec import read_list, read_text

_FLAVORS_MOST = 100  # more than any installation has

ANYWHERE = "auto"  # the contract's pseudo-region: no region in particular
ALIAS = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # what a further name of a region may look like


@dataclass(frozen=True, slots=True)
class Flavor:
    """Hardware: a code name such as `x86` or `t4`, and its class, `cpu` or `gpu`."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}/{self.type}"


def read_flavors(spec: Mapping[str, Any]) -> tuple[Flavor, ...]:
    """The hardware that a workload asks for (`spec.flavors`, the older contract's); an element without a name asks for
    nothing. Which of them exist is placement's to say."""
    found = []
    for index, item in enumerate(read_list(spec, "flavors", "spec.flavors", _FLAVORS_MOST)):
        at = f"spec.flavors[{index}]"
        if not isinstance(item, Mapping):
            raise Invalid(at, "must be an object with name and type")
        name, type_ = read_text(item, "name", f"{at}.name"), read_text(item, "type", f"{at}.type")
        if name:
            found.append(Flavor(name, type_ or "cpu"))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Region:
    """A place where workloads can run. `country` (ISO 3166-1, two letters) and `continent` (two letters) are None
    until the operator says them, as is `location`, the name of the place in words. `driver` names what runs units
    there. `aliases` are further names that a request may use for this region; no policy looks at them.
    `runs_images`: it runs images, and no programs; else programs, and no images."""

    name: str
    country: str | None
    continent: str | None
    flavors: tuple[Flavor, ...]
    driver: str
    location: str | None = None
    aliases: tuple[str, ...] = ()
    runs_images: bool = False

    def is_named(self, name: str) -> bool:
        """Whether a request that asks for `name` means this region; case does not matter."""
        return name.casefold() in {self.name.casefold(), *(alias.casefold() for alias in self.aliases)}

    def describe(self) -> str:
        """For people: `local (continent unknown, country unknown; flavors x86/cpu)`, with location and aliases where
        there are any."""
        continent = f"continent {self.continent.upper()}" if self.continent else "continent unknown"
        country = f"country {self.country.upper()}" if self.country else "country unknown"
        flavors = ", ".join(map(str, self.flavors)) or "none"
        location = f", location {self.location}" if self.location else ""
        aliases = f"; also called {', '.join(self.aliases)}" if self.aliases else ""
        return f"{self.name} ({continent}, {country}{location}; flavors {flavors}{aliases})"
