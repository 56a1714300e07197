"""Where workloads can run, on the wire (public contract). What the operator has not said is left out."""

from homeport.wire.body import Reply


class Flavor(Reply):
    name: str
    type: str


class LocationResponse(Reply):
    """One name that `spec.region` may have. `same_as` is Homeport's own: the region of which this name is an alias, so
    that nobody takes two names of one machine for two machines. So is `same_machine_as`: other regions of which their
    drivers tell that they are the same machine."""

    region: str
    status: str
    flavors: list[Flavor]
    country: str | None = None
    continent: str | None = None
    location: str | None = None
    same_as: str | None = None
    same_machine_as: list[str] | None = None


class Region(Reply):
    """`same_as` as in `LocationResponse`."""

    name: str
    country: str | None = None
    continent: str | None = None
    location: str | None = None
    drives_available: bool = False
    egress_available: bool = False
    mk31_available: bool = False
    proxy_available: bool = False
    same_as: str | None = None


class Continent(Reply):
    name: str
    display_name: str


class Country(Reply):
    name: str
    display_name: str


class PrivateLocation(Reply):
    name: str


class Configuration(Reply):
    """`detected_region` is the nearest to whoever asks: there is one. Places are those of this installation."""

    continents: list[Continent]
    countries: list[Country]
    regions: list[Region]
    private_locations: list[PrivateLocation]
    detected_region: str
