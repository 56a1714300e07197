"""What exists: regions and the flavors that each offers. Snapshots; the operator's configuration makes them.

Called by the decision and by placement. It does not guess: what the operator has not said is None, and a country is
never turned into a continent, because a rule that opens by a guess is a rule that can open by a mistake.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flavor:
    """Hardware: a code name such as `x86` or `t4`, and its class, `cpu` or `gpu`."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}/{self.type}"


@dataclass(frozen=True, slots=True)
class Region:
    """A place where workloads can run. `country` (ISO 3166-1, two letters) and `continent` (two letters) are None
    until the operator says them. `driver` names what runs units there."""

    name: str
    country: str | None
    continent: str | None
    flavors: tuple[Flavor, ...]
    driver: str

    def describe(self) -> str:
        """For people: `local (continent unknown, country unknown; flavors x86/cpu)`."""
        continent = f"continent {self.continent.upper()}" if self.continent else "continent unknown"
        country = f"country {self.country.upper()}" if self.country else "country unknown"
        flavors = ", ".join(map(str, self.flavors)) or "none"
        return f"{self.name} ({continent}, {country}; flavors {flavors})"
