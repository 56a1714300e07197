"""What becomes of each field of a body: one row a field, from which events, warnings and docs/fields.md are made or
checked, so that none of them says what another denies.

The rows of a kind stand with its domain: `homeport.policy.fields`, `homeport.workloads.fields`, `homeport.jobs.fields`.
A path names objects by `.`, elements of lists by `[]` and members that a caller names by `*`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

IGNORED_HEADER = "X-Homeport-Ignored-Fields"  # of an accepted order: a JSON list of {field, why}
MASK = "********"  # stands for a secret in what is read, and in an update for the one that is stored
IGNORED_MOST = 20  # named in one answer and one history; the next is only counted, since each is a caller's own text
_NAME_LENGTH = 100
_UNKNOWN = "this version knows no such field"


class Fate(StrEnum):
    ACTS = "acts"
    READ_ONLY = "read-only, ignored in requests"
    REFUSED = "refused"
    NO_EFFECT = "kept and returned, no effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """`effect`: what it does, or why it does nothing, as a clause. `idle`, for a field that acts, says why it does not
    with this specification; empty where it does."""

    path: str
    fate: Fate
    effect: str
    idle: Callable[[Mapping[str, Any]], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A field that was sent and has no effect."""

    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.field} is kept and has no effect: {self.why}."


def acts(path: str, effect: str, idle: Callable[[Mapping[str, Any]], str] | None = None) -> Field:
    return Field(path=path, fate=Fate.ACTS, effect=effect, idle=idle)


def no_effect(path: str, why: str) -> Field:
    return Field(path=path, fate=Fate.NO_EFFECT, effect=why)


def refused(path: str, why: str) -> Field:
    return Field(path=path, fate=Fate.REFUSED, effect=why)


def read_only(path: str, what: str) -> Field:
    return Field(path=path, fate=Fate.READ_ONLY, effect=what)


def registry(*groups: Iterable[Field]) -> dict[str, Field]:
    """The rows by path."""
    return {field.path: field for group in groups for field in group}


def ignored_fields(fields: Mapping[str, Field], spec: Mapping[str, Any]) -> tuple[Ignored, ...]:
    """What of `spec` has no effect, each field once, in its order. A part below a field without effect is not named
    again, and a value that asks for nothing (null, false, 0, empty) is none."""
    found = {one.field: one for one in _ignored(fields, spec, spec, "spec")}
    named = tuple(found.values())
    if len(named) <= IGNORED_MOST:
        return named
    rest = len(named) - IGNORED_MOST + 1
    return (*named[: IGNORED_MOST - 1], Ignored(field=f"spec ({rest} more fields)", why="so do the other fields"))


def _ignored(
    fields: Mapping[str, Field], spec: Mapping[str, Any], part: Mapping[str, Any], path: str
) -> Iterator[Ignored]:
    for key, value in part.items():
        if not value:
            continue
        at = f"{path}.{key}"
        known = fields.get(at) or fields.get(f"{path}.*")
        why = _why_idle(known, spec)
        if known is None or why:
            yield Ignored(field=_shown(at), why=why)
            continue
        for below, inner in _inner(known.path, value):
            yield from _ignored(fields, spec, inner, below)


def _why_idle(known: Field | None, spec: Mapping[str, Any]) -> str:
    if known is None:
        return _UNKNOWN
    if known.fate is Fate.NO_EFFECT:
        return known.effect
    return known.idle(spec) if known.idle is not None else ""


def _inner(path: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects in `value`, with the path of their members."""
    if isinstance(value, Mapping):
        yield path, value
    elif isinstance(value, list):
        yield from ((f"{path}[]", item) for item in value if isinstance(item, Mapping))


def _shown(path: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in path[:_NAME_LENGTH])


METADATA = (
    acts("metadata.name", "names the resource; fixed once it exists"),
    acts("metadata.displayName", "shown, and found by `q`"),
    acts("metadata.externalId", "the caller's own key; kept where an update leaves it out"),
    acts("metadata.labels", "shown, and found by `q`"),
    read_only("metadata.createdAt", "when it was created"),
    read_only("metadata.updatedAt", "when it was last changed"),
    read_only("metadata.createdBy", "who created it"),
    read_only("metadata.updatedBy", "who last changed it"),
    read_only("metadata.plan", "there are no plans here; never answered"),
    read_only("metadata.url", "where a workload answers; absent for policies"),
    read_only("metadata.workspace", "the workspace it belongs to"),
)


def _generation(spec: Mapping[str, Any]) -> str:
    sent = (spec.get("runtime") or {}).get("generation")
    return "" if sent == "mk3" else "there is one generation here, which answers as mk3"


def _size_of_persistent(spec: Mapping[str, Any]) -> str:
    named = [one for one in spec.get("volumes") or () if isinstance(one, Mapping) and one.get("sizeMb")]
    idle = any((one.get("type") or "persistent") == "persistent" for one in named)
    return "a persistent volume has its own size" if idle else ""


# What agents, functions and jobs have in common.
WORKLOAD = (
    acts("spec.enabled", "false stops serving, or new executions; true serves again"),
    acts("spec.policies", "each named policy must allow the place and the hardware"),
    acts("spec.policies[]", "a name that does not exist refuses"),
    acts("spec.region", "pins it to a region of this installation, by name or alias"),
    acts("spec.flavors", "the hardware asked for; placement gives one of these or refuses"),
    acts("spec.flavors[].name", "code name of the hardware"),
    acts("spec.flavors[].type", "`cpu` or `gpu`"),
    acts("spec.configurations", "each member is a variable of the program; `envs` of the same name replace it"),
    acts("spec.configurations.*", "one variable, named by its key"),
    acts("spec.configurations.*.value", "its value"),
    acts("spec.configurations.*.secret", "true masks the value on read"),
    refused("spec.integrationConnections", "400 for any name: this version has no integration connections"),
    acts("spec.repository", "the source of the program, where none is uploaded"),
    acts("spec.repository.url", "where the source is fetched from; a branch, tag or commit follows #"),
    acts("spec.repository.secret", "a stored secret that opens it; 400 for a name that does not exist"),
    no_effect("spec.repository.type", "its address says all that is needed"),
    acts("spec.revision", "which revision serves"),
    acts(
        "spec.revision.active",
        "the revision that takes all requests but the canary's; any that is kept and was built, older ones too, any "
        "other is 400. Creation: no effect, there is none yet",
    ),
    acts("spec.revision.canary", "the revision that takes `canaryPercent` of the requests, as `active`"),
    acts("spec.revision.canaryPercent", "0 to 100; no effect where there is no canary"),
    acts(
        "spec.revision.traffic",
        "share of the new revision: 0 builds without serving, 100 serves, between them it is the canary; absent: the "
        "contract's rule",
    ),
    acts("spec.runtime", "how it runs"),
    acts("spec.runtime.envs", "variables of the program"),
    acts("spec.runtime.envs[].name", "name of the variable"),
    acts("spec.runtime.envs[].value", "its value"),
    acts("spec.runtime.envs[].secret", "true masks the value on read"),
    refused("spec.runtime.envs[].valueFrom", "400: there is nothing to read a value from"),
    acts("spec.runtime.generation", "mk3 is what runs here", _generation),
    acts(
        "spec.runtime.image",
        "runs this image: one of a registry, in a region with an engine, or one that was built here; 400 where there "
        "is none; empty is none, and shows what the newest build is kept as",
    ),
    acts(
        "spec.runtime.dockerConfig",
        "logins of registries, as a string of Docker's config JSON; sealed, and masked on read",
    ),
    acts("spec.runtime.memory", "limit in MB"),
    acts("spec.volumes", "what it mounts; see docs/volumes.md. With persistent ones `region` is compulsory"),
    acts("spec.volumes[].name", "of a volume of this workspace; of an ephemeral one whatever it is called"),
    acts("spec.volumes[].mountPath", "where the program sees it; / of an ephemeral one is all that it may write"),
    acts("spec.volumes[].readOnly", "true: the program cannot write there"),
    acts("spec.volumes[].sizeMb", "of an ephemeral one, compulsory: its size", _size_of_persistent),
    acts("spec.volumes[].type", "`persistent`, or `ephemeral`: empty at each start; a job takes only these"),
    no_effect("spec.network", "programs share the network of this machine"),
    read_only("events", "what happened to it, oldest first"),
    read_only("events[].time", "when"),
    read_only("events[].type", "`deployment` or `build`"),
    read_only("events[].status", "the status then"),
    read_only("events[].message", "what happened, in words"),
    read_only("events[].revision", "the revision concerned"),
    read_only("events[].canaryRevision", "the canary then"),
    read_only("status", "its state; see docs/states.md"),
)
