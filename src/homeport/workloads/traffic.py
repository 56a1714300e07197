"""Which revision a deployment lets serve: `spec.revision` (public contract), read when a deployment is accepted.

At most one revision serves. What asks for less than all or nothing is refused, because it says which code answers. What
a new workload says of revisions that it cannot have yet, and what a caller merely sends back as it was read, is ignored
and told. The outcome is kept in the new revision's own specification: it must not change while the revision is built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.fields import Ignored
from homeport.core.ids import RevisionId
from homeport.core.spec import Bounds, read_int, read_object, read_text
from homeport.workloads.states import RevisionState
from homeport.workloads.views import RevisionView

_PERCENT = Bounds(low=0, high=100)
_ON_THEIR_WAY = (RevisionState.UPLOADING, RevisionState.BUILDING, RevisionState.BUILT, RevisionState.STARTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """`held`, if not empty, says why the new revision is built and kept, and does not serve. `activate`: the kept
    revision that is to serve instead. `overtake`: those on their way to serve that are not to any more."""

    held: str = ""
    activate: RevisionId | None = None
    overtake: tuple[RevisionId, ...] = ()
    ignored: tuple[Ignored, ...] = ()


def first_traffic(spec: Mapping[str, Any]) -> Traffic:
    """For a new workload. Raises `Invalid` for a share of requests."""
    asked = read_object(spec, "revision", "spec.revision")
    why = "a new workload has no earlier revision"
    named = [key for key in ("active", "canary") if _name(asked, key)]
    ignored = tuple(Ignored(field=f"spec.revision.{key}", why=why) for key in named)
    return Traffic(held="traffic is 0" if _share(asked) == 0 else "", ignored=ignored)


def next_traffic(spec: Mapping[str, Any], before: Mapping[str, Any], revisions: Sequence[RevisionView]) -> Traffic:
    """For an update of a workload that had the specification `before`. Raises `Invalid` for a share of requests, and
    for a revision that cannot be made to serve."""
    asked, earlier = (read_object(one, "revision", "spec.revision") for one in (spec, before))
    ignored = []
    if canary := _name(asked, "canary"):
        if canary != _name(earlier, "canary"):
            raise Invalid("spec.revision.canary", "cannot be served: this version has no canaries", value=canary)
        ignored.append(Ignored(field="spec.revision.canary", why="this version has no canaries"))
    share, active = _share(asked), _name(asked, "active")
    known = {revision.id: revision for revision in revisions}
    if active and RevisionId(active) not in known:
        if active != _name(earlier, "active"):
            ids = ", ".join(known) or "none"
            raise Invalid("spec.revision.active", f"must be a revision of this workload: {ids}", value=active)
        ignored.append(Ignored(field="spec.revision.active", why="no such revision is kept"))
        active = None
    if active:
        return _pinned(known[RevisionId(active)], share, revisions, tuple(ignored))
    return Traffic(held=_held(share, revisions), ignored=tuple(ignored))


def with_share(spec: dict[str, Any], *, held: bool) -> dict[str, Any]:
    """The specification of a revision with the outcome written into it."""
    return {**spec, "revision": {**(spec.get("revision") or {}), "traffic": 0 if held else 100}}


def is_held(spec: Mapping[str, Any]) -> bool:
    """Whether the revision with this specification is to be built and kept, and not to serve."""
    return (spec.get("revision") or {}).get("traffic") == 0


def _pinned(
    chosen: RevisionView, share: int | None, revisions: Sequence[RevisionView], ignored: tuple[Ignored, ...]
) -> Traffic:
    """`chosen` serves, or is made to; the new revision is kept beside it."""
    if share == 100:
        rule = "cannot be 100 beside an `active` revision: that gives every request to the new one; leave one out"
        raise Invalid("spec.revision.traffic", rule, value=share)
    others = tuple(one.id for one in revisions if one.state in _ON_THEIR_WAY and one.id != chosen.id)
    held = f"revision {chosen.id} is the active one"
    if chosen.state is RevisionState.SERVING:
        return Traffic(held=held, overtake=others, ignored=ignored)
    serving = _serving(revisions)
    if chosen.state is RevisionState.HELD and (serving is None or chosen.generation > serving.generation):
        return Traffic(held=held, activate=chosen.id, overtake=others, ignored=ignored)
    rule = (
        "must be the serving revision or a newer one that is built and kept; this version does not go back to an "
        f"earlier one (it is {chosen.state.value})"
    )
    raise Invalid("spec.revision.active", rule, value=chosen.id, hint="Deploy its source again.")


def _held(share: int | None, revisions: Sequence[RevisionView]) -> str:
    """The contract's rule where no share is given: the new one serves if what serves is the latest, else it is kept.
    Revisions that failed are not the latest: they never could serve."""
    if share is not None:
        return "traffic is 0" if share == 0 else ""
    serving = _serving(revisions)
    newer = [] if serving is None else [one for one in revisions if one.generation > serving.generation]
    kept = [one for one in newer if one.state is RevisionState.HELD]
    if serving is None or not kept:
        return ""
    return f"revision {serving.id} serves and is not the latest; send spec.revision.traffic 100 to serve the new one"


def _serving(revisions: Sequence[RevisionView]) -> RevisionView | None:
    return next((one for one in revisions if one.state is RevisionState.SERVING), None)


def _share(asked: Mapping[str, Any]) -> int | None:
    share = read_int(asked, "traffic", "spec.revision.traffic", _PERCENT)
    if share not in (None, 0, 100):
        raise Invalid("spec.revision.traffic", "must be 0 or 100: this version does not share requests", value=share)
    return share


def _name(asked: Mapping[str, Any], key: str) -> str | None:
    return read_text(asked, key, f"spec.revision.{key}")
