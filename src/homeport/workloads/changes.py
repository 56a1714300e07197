"""Does an update make a revision? By what it changes; the table is in docs/revisions.md.

Called when an update is accepted. A field that is not named here makes one, so that nothing that could change what
runs is ever applied to a revision that exists.
"""

from collections.abc import Mapping
from typing import Any

# How requests are routed, and how many replicas run: read from the workload itself, never from a revision.
ROUTING = ("enabled", "public", "revision", "triggers")
ROUTING_OF_RUNTIME = ("maxScale", "minScale")


def revision_needed(
    before: Mapping[str, Any], after: Mapping[str, Any], *, upload: bool, relabelled: bool, newest_is_active: bool
) -> str:
    """Why the update from the specification `before` to `after`, both with their secrets in plain, makes a revision;
    empty if it makes none.

    upload: an archive comes with it. relabelled: it changes metadata. newest_is_active: no newer revision is there
    than the one that takes the requests, so that a share for the new deployment asks for one.
    """
    if upload:
        return "a new archive"
    if changed := changed_fields(before, after):
        return f"{', '.join(changed)} changed"
    asked = after.get("revision") or {}
    routed = relabelled or any(_bare(before.get(key)) != _bare(after.get(key)) for key in ROUTING)
    routed = routed or _scale(before) != _scale(after)
    names = any(asked.get(key) for key in ("active", "canary"))
    share = asked.get("traffic")
    if not names and share is not None and share < 100 and share != (before.get("revision") or {}).get("traffic"):
        return f"traffic {share} asks for a new deployment" if newest_is_active else ""
    return "" if routed or names else "the same order again"


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The fields of what runs in which they differ, sorted. What is absent, null or empty is the same."""
    old, new = _running(before), _running(after)
    return sorted(f"spec.{name}" for name in {*old, *new} if old.get(name) != new.get(name))


def _running(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide what runs, those of `runtime` by a name of their own."""
    found = {key: value for key, value in spec.items() if key not in (*ROUTING, "runtime")}
    runtime = spec.get("runtime") or {}
    found |= {f"runtime.{key}": value for key, value in runtime.items() if key not in ROUTING_OF_RUNTIME}
    return _bare(found) or {}


def _scale(spec: Mapping[str, Any]) -> list[Any]:
    return [(spec.get("runtime") or {}).get(key) for key in ROUTING_OF_RUNTIME]


def _bare(value: Any) -> Any:
    """Without members that say nothing."""
    if isinstance(value, Mapping):
        kept = {key: bare for key, one in value.items() if (bare := _bare(one)) is not None}
        return kept or None
    if isinstance(value, list):
        return [_bare(one) for one in value] or None
    return value
