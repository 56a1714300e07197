"""Where a workload answers and how its requests are treated, by its spec and labels (pure).

Called where an order is checked, and where routes are made, from what is stored. Besides the path of its name, a
workload may have paths of its own below its workspace (triggers) and has a host name, so that programs in a browser
share neither origin nor cookies.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.spec import Bounds, is_below, read_bool, read_int, read_object
from homeport.workloads.triggers import Access, Trigger, TriggerType, read_triggers

DOMAIN = "localhost"  # where workloads have their host names, if the operator says nothing else
AFFINITY_LABEL = "homeport.dev/affinity"
REPLICA = "replica"
STICKY_S = Bounds(low=0, high=30 * 24 * 3600)
# The first part of every address that has another meaning, whether something is there or not.
RESERVED_PARTS = ("agents", "applications", "functions", "jobs", "models", "sandboxes")
HOST_LABEL_LENGTH = 63  # of DNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stickiness:
    """`ttl_s`: how long a client stays with the revision that it met first, 0 for no such rule. `replica`: it also
    stays with one replica of it, as long as that is there."""

    ttl_s: int = 0
    replica: bool = False

    @property
    def to_revision(self) -> bool:
        return self.ttl_s > 0 or self.replica


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomPath:
    """A path below the workspace, without slashes at its ends; what is below it belongs to it too. `trigger` is the id
    of what made it. `timeout_s` and `retries` are None where nothing is said."""

    path: str
    trigger: str
    public: bool
    asynchronous: bool = False
    timeout_s: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """What a workload's spec says of them. `public`, `timeout_s` and `retries` are of its own path and host name;
    `paths` are the further ones, the longest first."""

    public: bool = False
    stickiness: Stickiness = field(default_factory=Stickiness)
    timeout_s: int | None = None
    retries: int | None = None
    paths: tuple[CustomPath, ...] = ()


def read_addresses(kind: Kind, name: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> Addresses:
    """Raises `Invalid` with the path of what is wrong: in the spec, or among the labels."""
    triggers = read_triggers(spec)
    for trigger in triggers:
        if trigger.type is TriggerType.HTTP_ASYNC and kind is not Kind.AGENT:
            raise Invalid(
                f"{trigger.field}.type", "is for agents: other kinds answer their callers", value=trigger.type
            )
    public = read_bool(spec, "public", "spec.public", False)
    own = [known for known in triggers if known.type is TriggerType.HTTP and known.enabled and not known.path]
    return Addresses(
        public=public or any(known.access is Access.PUBLIC for known in own),
        stickiness=_stickiness(spec, labels),
        timeout_s=min((known.timeout_s for known in own if known.timeout_s is not None), default=None),
        retries=max((known.retry for known in own if known.retry is not None), default=None),
        paths=tuple(_paths(kind, name, public, triggers)),
    )


def stored_addresses(kind: Kind, name: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> Addresses:
    """The same of what is stored, which an earlier version may have taken without looking: then nothing of it counts
    but whether the workload is public."""
    try:
        return read_addresses(kind, name, spec, labels)
    except Invalid:
        return Addresses(public=spec.get("public") is True)


def claimed_paths(kind: Kind, name: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """The paths below the workspace that the spec takes for its workload, with the field of each. One that is switched
    off is taken too, so that it can be switched on again."""
    own = f"{kind.plural}/{name}"
    return {
        known.path: f"{known.field}.configuration.path"
        for known in _with_paths(read_triggers(spec))
        if not is_below(known.path, own)
    }


def overlapping(path: str, others: Iterable[str]) -> str | None:
    """One of `others` that is `path`, or above or below it: what is below a path belongs to its owner."""
    return next((other for other in others if is_below(path, other) or is_below(other, path)), None)


def host_label(kind: Kind, name: str, workspace: str, workspaces: Collection[str]) -> str:
    """The first part of the workload's host name, such as `agt-hello-default`; empty where `why_no_host` says why."""
    return "" if why_no_host(kind, name, workspace, workspaces) else _label(kind, name, workspace)


def why_no_host(kind: Kind, name: str, workspace: str, workspaces: Collection[str]) -> str:
    """Why it has none, as a clause; empty where it has one. `agt-a-b-c` could be `a` of the workspace `b-c` and `a-b`
    of `c`: where both workspaces exist it is the former's, whatever agents there are, so that no name ever changes
    hands by a deployment."""
    label = _label(kind, name, workspace)
    if len(label) > HOST_LABEL_LENGTH:
        return f"{label} is longer than {HOST_LABEL_LENGTH} characters, the most that a part of a host name may have"
    longer = [other for other in workspaces if len(other) > len(workspace) and label.endswith(f"-{other}")]
    if any(label.removesuffix(f"-{other}").count("-") for other in longer):
        return f"{label} could also mean a workload of another workspace"
    return ""


def _label(kind: Kind, name: str, workspace: str) -> str:
    prefix = "agt" if kind is Kind.AGENT else "mcp"
    return f"{prefix}-{name}-{workspace}"


def _stickiness(spec: Mapping[str, Any], labels: Mapping[str, str]) -> Stickiness:
    asked = read_object(spec, "revision", "spec.revision")
    affinity = labels.get(AFFINITY_LABEL)
    if affinity not in (None, "", REPLICA):
        raise Invalid(f"metadata.labels.{AFFINITY_LABEL}", f"must be {REPLICA!r}, or absent", value=affinity)
    ttl_s = read_int(asked, "stickySessionTtl", "spec.revision.stickySessionTtl", STICKY_S)
    return Stickiness(ttl_s=ttl_s or 0, replica=affinity == REPLICA)


def _paths(kind: Kind, name: str, public: bool, triggers: Iterable[Trigger]) -> list[CustomPath]:
    known: dict[str, CustomPath] = {}
    for trigger in _with_paths(triggers):
        field = f"{trigger.field}.configuration.path"
        _refuse_reserved(trigger.path, f"{kind.plural}/{name}", field)
        if trigger.path in known:
            raise Invalid(field, f"is that of the trigger {known[trigger.path].trigger!r} already", value=trigger.path)
        known[trigger.path] = CustomPath(
            path=trigger.path,
            trigger=trigger.id,
            public=public if trigger.access is None else trigger.access is Access.PUBLIC,
            asynchronous=trigger.type is TriggerType.HTTP_ASYNC,
            timeout_s=trigger.timeout_s,
            retries=trigger.retry,
        )
    served = {trigger.id for trigger in triggers if trigger.enabled}
    return sorted((one for one in known.values() if one.trigger in served), key=lambda one: (-len(one.path), one.path))


def _with_paths(triggers: Iterable[Trigger]) -> list[Trigger]:
    return [known for known in triggers if known.path and known.type is not TriggerType.CRON]


def _refuse_reserved(path: str, own: str, field: str) -> None:
    """Raises `Invalid` for a path that belongs to somebody else by its form."""
    if path.partition("/")[0] in RESERVED_PARTS and not is_below(path, own):
        rule = f"must not begin with {', '.join(RESERVED_PARTS)}, but for {own}"
        raise Invalid(field, rule, value=path)
