"""Policies as rules: parsed from the contract's spec, described in words, asked whether they allow something.

Called when a policy is created or updated (to refuse what could never act) and when a decision is made. It knows one
policy at a time: how several combine is in `decision`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.spec import Bounds, read_int, read_list, read_object, read_text
from homeport.policy.inventory import Flavor, Region

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
RESOURCE_TYPES = ("model", "function", "agent", "sandbox", "application")
E = TypeVar("E", bound=StrEnum)
Option = TypeVar("Option")
_PLACE_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")  # the bounds of what the operator may say of a region
_FLAVOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OPTIONS_MOST = 100  # places or flavors of one policy; more is a mistake, and each is compared at each decision
_TOKENS_MOST = 10**15  # far above any use, below where sums or JSON numbers lose exactness


class PolicyType(StrEnum):
    """Which aspect a policy restricts; only that part of its spec acts."""

    LOCATION = "location"
    FLAVOR = "flavor"
    MAX_TOKEN = "maxToken"


# Which part of a spec acts.
_PARTS = {PolicyType.LOCATION: "locations", PolicyType.FLAVOR: "flavors", PolicyType.MAX_TOKEN: "maxTokens"}


class PlaceType(StrEnum):
    """LOCATION compares with a region's own name and with the location that the operator says, COUNTRY and CONTINENT
    with what the operator says of them. An alias of a region is compared with nothing."""

    LOCATION = "location"
    COUNTRY = "country"
    CONTINENT = "continent"


class Granularity(StrEnum):
    """The unit of a token window."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One allowed place. `name` as the policy writes it; comparison ignores case."""

    type: PlaceType
    name: str

    def known_of(self, region: Region) -> str | None:
        """What the operator says of `region` in the sense of this place's type."""
        if self.type is PlaceType.LOCATION:
            return region.location
        return region.country if self.type is PlaceType.COUNTRY else region.continent

    def matches(self, region: Region) -> bool:
        known = [self.known_of(region), region.name if self.type is PlaceType.LOCATION else None]
        return self.name.casefold() in [one.casefold() for one in known if one is not None]

    def __str__(self) -> str:
        if self.type is PlaceType.LOCATION:
            return f"location {self.name}"
        return f"{self.type} {self.name.upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorPattern:
    """One allowed flavor. What is None is not compared; at least one is given. Comparison ignores case."""

    name: str | None = None
    type: str | None = None

    def matches(self, flavor: Flavor) -> bool:
        pairs = ((self.name, flavor.name), (self.type, flavor.type))
        return all(asked is None or asked.casefold() == has.casefold() for asked, has in pairs)

    def __str__(self) -> str:
        return f"{self.name or 'any'}/{self.type}" if self.type else f"{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimit:
    """Ceilings of tokens in each window of `step` × `granularity`; 0 switches a ceiling off.

    `ratio` weighs input against output (contract: `ratioInputOverOutput`, undefined beyond its name); 0 for none. It
    is carried for the model gateway, which alone enforces token limits.
    """

    policy: str
    granularity: Granularity
    step: int
    input: int
    output: int
    total: int
    ratio: float

    def __str__(self) -> str:
        ceilings = (("input", self.input), ("output", self.output), ("total", self.total))
        shown = ", ".join(f"{ceiling} {what}" for what, ceiling in ceilings if ceiling)
        window = self.granularity if self.step == 1 else f"{self.step} {self.granularity}s"
        return f"{shown} tokens every {window}"


@dataclass(frozen=True, slots=True)
class MissingPolicy:
    """A name in a workload's `spec.policies` under which no policy exists that could decide. It refuses; it never
    opens. `deleted` says who deleted it and when, where that is known; `unusable` what is wrong with one that is there,
    stored by another version."""

    name: str
    deleted: str = ""
    unusable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """One policy. `resource_types` empty means every kind. `idle` are parts of its spec that are kept and do
    nothing."""

    name: str
    type: PolicyType
    places: tuple[Place, ...] = ()
    flavors: tuple[FlavorPattern, ...] = ()
    tokens: TokenLimit | None = None
    resource_types: frozenset[str] = frozenset()
    idle: tuple[str, ...] = ()

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> "PolicyRule":
        """Parse a policy's `spec`. Raises `Invalid` with the path of what is wrong, such as `spec.locations[0].type`.

        Parts other than the one that `type` names are not read: they do nothing, whatever they hold.
        """
        kind = _choice(PolicyType, spec.get("type"), "spec.type")
        return cls(
            name=name,
            type=kind,
            places=_places(spec) if kind is PolicyType.LOCATION else (),
            flavors=_flavors(spec) if kind is PolicyType.FLAVOR else (),
            tokens=_tokens(name, spec) if kind is PolicyType.MAX_TOKEN else None,
            resource_types=_resource_types(spec),
            idle=tuple(part for part in (*_PARTS.values(), "sandbox") if part != _PARTS[kind] and spec.get(part)),
        )

    def binds(self, kind: Kind) -> bool:
        """Whether this policy acts on a workload of `kind` to which it is attached.

        The contract's resource types have no member for jobs, so a policy could never name them, yet jobs carry
        policies. It always binds a job: whoever attached it wanted a limit, and a limit that silently does nothing
        is worse than one that refuses and says why.
        """
        return kind is Kind.JOB or not self.resource_types or kind.value in self.resource_types

    def describe_options(self) -> str:
        """What is allowed, without the verb: `continent EU or country US`, `flavor t4/gpu`."""
        if self.type is PolicyType.LOCATION:
            return alternatives(self.places)
        if self.type is PolicyType.FLAVOR:
            return f"flavor {alternatives(self.flavors)}"
        return str(self.tokens)

    def describe(self) -> str:
        """One sentence without its full stop: `policy "eu-only" allows only continent EU`."""
        return f'policy "{self.name}" allows only {self.describe_options()}'


def alternatives(options: tuple[object, ...]) -> str:
    """`a`, `a or b`, `a, b or c`; each once."""
    shown = list(dict.fromkeys(str(option) for option in options))
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} or {shown[-1]}"


def _choice(kind: type[E], value: object, field: str) -> E:
    if isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            pass
    allowed = ", ".join(member.value for member in kind)
    raise Invalid(
        field, f"is required: one of {allowed}" if value is None else f"must be one of {allowed}", value=value
    )


def _resource_types(spec: Mapping[str, Any]) -> frozenset[str]:
    found = set()
    for index, value in enumerate(read_list(spec, "resourceTypes", "spec.resourceTypes", _OPTIONS_MOST)):
        if value not in RESOURCE_TYPES:
            hint = "A policy attached to a job always binds it, without being named here." if value == "job" else ""
            rule = f"must be one of {', '.join(RESOURCE_TYPES)}"
            raise Invalid(f"spec.resourceTypes[{index}]", rule, value=value, hint=hint)
        if value in found:
            raise Invalid(f"spec.resourceTypes[{index}]", "must not be named twice", value=value)
        found.add(value)
    return frozenset(found)


def _objects(spec: Mapping[str, Any], key: str, kind: PolicyType) -> list[tuple[str, Mapping[str, Any]]]:
    items = read_list(spec, key, f"spec.{key}", _OPTIONS_MOST)
    if not items:
        raise Invalid(f"spec.{key}", f"must not be empty when spec.type is {kind}")
    paths = [f"spec.{key}[{index}]" for index in range(len(items))]
    for path, item in zip(paths, items, strict=True):
        if not isinstance(item, Mapping):
            raise Invalid(path, "must be an object", value=item)
    return list(zip(paths, items, strict=True))


def _once(field: str, options: list[Option]) -> tuple[Option, ...]:
    """`options` if each is there once; one that is there twice is a mistake in one of the two."""
    first: dict[str, int] = {}
    for index, option in enumerate(options):
        earlier = first.setdefault(str(option).casefold(), index)
        if earlier != index:
            raise Invalid(f"{field}[{index}]", f"must not repeat {field}[{earlier}]", value=str(option))
    return tuple(options)


def _places(spec: Mapping[str, Any]) -> tuple[Place, ...]:
    return _once(
        "spec.locations", [_place(path, item) for path, item in _objects(spec, "locations", PolicyType.LOCATION)]
    )


def _place(path: str, item: Mapping[str, Any]) -> Place:
    kind = _choice(PlaceType, item.get("type"), f"{path}.type")
    name = read_text(item, "name", f"{path}.name")
    if name is None:
        raise Invalid(f"{path}.name", "is required")
    if kind is PlaceType.CONTINENT and name.upper() not in CONTINENTS:
        raise Invalid(f"{path}.name", f"must be a continent's code: {', '.join(CONTINENTS)}", value=name)
    if kind is PlaceType.COUNTRY and not (len(name) == 2 and name.isascii() and name.isalpha()):
        raise Invalid(f"{path}.name", "must be a country's code of two letters (ISO 3166-1) such as US", value=name)
    if kind is PlaceType.LOCATION and not _PLACE_NAME.fullmatch(name):
        raise Invalid(f"{path}.name", "must have at most 64 characters and no control characters", value=name)
    return Place(type=kind, name=name)


def _flavors(spec: Mapping[str, Any]) -> tuple[FlavorPattern, ...]:
    return _once("spec.flavors", [_flavor(path, item) for path, item in _objects(spec, "flavors", PolicyType.FLAVOR)])


def _flavor(path: str, item: Mapping[str, Any]) -> FlavorPattern:
    name = read_text(item, "name", f"{path}.name")
    kind = read_text(item, "type", f"{path}.type")
    if name is None and kind is None:
        raise Invalid(path, "must have a name, a type or both")
    if name is not None and not _FLAVOR_NAME.fullmatch(name):
        rule = "must have at most 63 letters, digits, dots, hyphens and underscores"
        raise Invalid(f"{path}.name", rule, value=name)
    if kind is not None and kind.lower() not in ("cpu", "gpu"):
        raise Invalid(f"{path}.type", "must be one of cpu, gpu", value=kind)
    return FlavorPattern(name=name, type=kind)


def _tokens(policy: str, spec: Mapping[str, Any]) -> TokenLimit:
    path = "spec.maxTokens"
    budget = read_object(spec, "maxTokens", path)
    if not budget:
        raise Invalid(path, f"must not be empty when spec.type is {PolicyType.MAX_TOKEN}")
    ceiling = Bounds(low=0, high=_TOKENS_MOST)
    limit = TokenLimit(
        policy=policy,
        granularity=_choice(Granularity, budget.get("granularity"), f"{path}.granularity"),
        step=read_int(budget, "step", f"{path}.step", Bounds(low=1, high=10_000)) or 1,
        input=read_int(budget, "input", f"{path}.input", ceiling) or 0,
        output=read_int(budget, "output", f"{path}.output", ceiling) or 0,
        total=read_int(budget, "total", f"{path}.total", ceiling) or 0,
        ratio=_ratio(budget, f"{path}.ratioInputOverOutput"),
    )
    if not (limit.input or limit.output or limit.total):
        # Policies of a type act as a union: one without a ceiling would lift the ceilings of all the others.
        raise Invalid(path, "must set at least one of input, output and total above 0")
    return limit


def _ratio(budget: Mapping[str, Any], field: str) -> float:
    value = budget.get("ratioInputOverOutput")
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _TOKENS_MOST:
        raise Invalid(field, "must be a number of at least 0", value=value)
    return float(value)
