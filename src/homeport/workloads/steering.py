"""What an order asks of the revisions: `spec.revision` (public contract), read when a deployment is accepted, and what
promote, undo and abort mean. The rules in a table: docs/revisions.md.

What a new workload says of revisions that it cannot have yet, and what a caller merely sends back as it was read, is
ignored and told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.core.errors import Conflict, Invalid
from homeport.core.fields import Ignored
from homeport.core.ids import RevisionId
from homeport.core.spec import Bounds, read_int, read_object, read_text
from homeport.workloads.states import RevisionState
from homeport.workloads.traffic import Split, Traffic
from homeport.workloads.views import RevisionView

_PERCENT = Bounds(low=0, high=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """`wanted` is how requests shall be shared. `held`, if not empty, says why the new revision is built and kept, and
    does not serve. `share` is the new revision's part in percent."""

    wanted: Split
    held: str = ""
    share: int = 0
    ignored: tuple[Ignored, ...] = ()


def first_steer(spec: Mapping[str, Any], new: RevisionId) -> Steer:
    """For a new workload whose first revision is `new`. Raises `Invalid` for a share that is none."""
    asked = read_object(spec, "revision", "spec.revision")
    why = "a new workload has no earlier revision"
    ignored = [_ignored(key, why) for key in ("active", "canary") if _name(asked, key)]
    if _share(asked, "canaryPercent"):
        ignored.append(_ignored("canaryPercent", why))
    share = _share(asked, "traffic")
    if share == 0:
        return Steer(wanted=Split(), held="traffic is 0", ignored=tuple(ignored))
    if share not in (None, 100):
        ignored.append(_ignored("traffic", f"{why} to share with, so all requests go to it"))
    return Steer(wanted=Split(active=new), share=100, ignored=tuple(ignored))


def next_steer(
    spec: Mapping[str, Any],
    before: Mapping[str, Any],
    traffic: Traffic,
    revisions: Sequence[RevisionView],
    new: RevisionId | None,
) -> Steer:
    """For an update of a workload that had the specification `before`; `new` is the revision that it makes, if any.

    Raises `Invalid` naming the field for a share that is none, for a revision that is not kept, with those that are,
    or that was never built, and for parts that contradict each other.
    """
    order = _Order(spec, before, settled(traffic, revisions), revisions)
    return order.with_new(new) if new is not None else order.alone(traffic.failed)


def settled(traffic: Traffic, revisions: Sequence[RevisionView]) -> Split:
    """What is wanted, as far as it can still be had."""
    wanted = traffic.wanted
    for lost in unavailable(traffic, revisions):
        wanted = wanted.without(lost, traffic.served)
    return wanted


def unavailable(traffic: Traffic, revisions: Sequence[RevisionView]) -> tuple[RevisionId, ...]:
    """Revisions that are wanted, do not serve, and never will: their build failed, or they are gone."""
    states = {one.id: one.state for one in revisions}
    hopeless = (None, RevisionState.FAILED, RevisionState.SUPERSEDED)
    others = (one for one in traffic.wanted.revisions if one not in traffic.served.revisions)
    return tuple(one for one in others if states.get(one) in hopeless)


def newest_of(revisions: Sequence[RevisionView]) -> RevisionView | None:
    """The latest deployment that did not fail."""
    usable = [one for one in revisions if one.state is not RevisionState.FAILED]
    return max(usable, key=lambda one: one.generation, default=None)


def promoted(traffic: Traffic, revisions: Sequence[RevisionView]) -> RevisionId:
    """Which revision a promotion makes the active one: the canary, else a newer one that is kept beside what serves.
    Raises `Conflict` where there is neither."""
    if (canary := traffic.wanted.canary or traffic.served.canary) is not None:
        return canary
    active = next((one for one in revisions if one.id == traffic.wanted.active), None)
    newer = [one for one in revisions if active is None or one.generation > active.generation]
    kept = max((one for one in newer if _usable(one)), key=lambda one: one.generation, default=None)
    if kept is None:
        raise Conflict("There is nothing to promote: no canary, and no newer revision that is kept.")
    return kept.id


def undone(traffic: Traffic) -> RevisionId:
    """Which revision was active before. Raises `Conflict` where none is kept."""
    if traffic.previous is None or traffic.previous == traffic.served.active:
        raise Conflict("There is nothing to go back to: no revision was active before this one.", hint=_CHOOSE)
    return traffic.previous


def aborted(traffic: Traffic) -> RevisionId:
    """Which revision keeps all requests when the canary, or the rollout under way, is given up. Raises `Conflict`."""
    if not traffic.under_way and traffic.served.canary is None:
        raise Conflict("There is nothing to abort: no canary, and no rollout under way.")
    if traffic.served.active is None:
        raise Conflict("There is nothing to return to: no revision has served yet.", hint="Delete it, or deploy again.")
    return traffic.served.active


_CHOOSE = "Choose one of `homeport rollout history NAME`, with --to."


class _Order:
    """One update's `spec.revision`, beside the one before and what is kept."""

    def __init__(
        self, spec: Mapping[str, Any], before: Mapping[str, Any], base: Split, revisions: Sequence[RevisionView]
    ) -> None:
        self._asked, self._earlier = (read_object(one, "revision", "spec.revision") for one in (spec, before))
        self._base = base
        self._revisions = revisions
        self._ignored: list[Ignored] = []
        self.active, self.canary = self._named("active"), self._named("canary")
        self.percent, self.traffic = _share(self._asked, "canaryPercent"), _share(self._asked, "traffic")

    def with_new(self, new: RevisionId) -> Steer:
        """With a new revision: `traffic` is its share. Without, it is kept where the order says who serves, and where a
        newer one than what serves is kept already (the contract's rule)."""
        if self.traffic is None:
            if why := self._kept_because():
                return self._steer(self._explicit(), held=why)
            return self._steer(Split(active=new), share=100)
        if self.traffic == 0:
            return self._steer(self._explicit(), held="traffic is 0")
        if self.traffic == 100:
            self._refuse_beside("active", "gives every request to the new revision")
            return self._steer(Split(active=new), share=100)
        self._refuse_beside("canary", "makes the new revision the canary, and two share requests at the most")
        active = self.active or self._base.active
        if active is None:
            self._ignore("traffic", "nothing else serves to share with, so all requests go to the new revision")
            return self._steer(Split(active=new), share=100)
        return self._steer(Split(active=active, canary=new, percent=self.traffic), share=self.traffic)

    def alone(self, failed: RevisionId | None) -> Steer:
        """Without a new revision. What only came back as it was read changes nothing, except that a revision that is
        named and had `failed` is tried once more."""
        if self._asked == self._earlier and (failed is None or failed not in (self.active, self.canary)):
            return self._steer(self._base)
        if self.active or self.canary or self.percent is not None:
            return self._steer(self._explicit())
        newest = newest_of(self._revisions)
        changed = self.traffic is not None and self.traffic != self._earlier.get("traffic")
        if newest is None or not changed or newest.id == self._base.active:
            return self._steer(self._base)
        if self.traffic == 0:
            return self._steer(Split(active=self._base.active))
        self._require_usable(newest, "traffic")
        if self.traffic == 100 or self._base.active is None:
            return self._steer(Split(active=newest.id))
        return self._steer(Split(active=self._base.active, canary=newest.id, percent=self.traffic or 0))

    def _explicit(self) -> Split:
        """What `active`, `canary` and `canaryPercent` say. An `active` alone ends a canary; a `canary` alone, or its
        share, leaves the active one."""
        active = self.active or self._base.active
        canary = self.canary if self.active or self.canary else self._base.canary
        if self.canary and self.canary == active:
            rule = "must be another revision than the active one"
            raise Invalid("spec.revision.canary", rule, value=self.canary)
        if canary is None:
            if self.percent:
                self._ignore("canaryPercent", "no canary is named, and there is none")
            return Split(active=active)
        if active is None:
            rule = "cannot share requests: no revision serves; name it in spec.revision.active"
            raise Invalid("spec.revision.canary", rule, value=canary)
        present = self._base.percent if canary == self._base.canary else 0
        return Split(active=active, canary=canary, percent=present if self.percent is None else self.percent)

    def _kept_because(self) -> str:
        if self.active:
            return f"revision {self.active} is the active one"
        if self.canary:
            return f"revision {self.canary} is the canary"
        serving = next((one for one in self._revisions if one.id == self._base.active), None)
        waiting = (RevisionState.HELD, RevisionState.SERVING, RevisionState.UPLOADING, RevisionState.BUILDING)
        newer = [one for one in self._revisions if serving and one.generation > serving.generation]
        # Also one that served and was gone back from: whoever undid it does not want the next one at once.
        if serving is None or not any(one.state in waiting or _stepped_back(one) for one in newer):
            return ""
        return (
            f"revision {serving.id} serves and is not the latest; send spec.revision.traffic 100 to serve the new one"
        )

    def _named(self, key: str) -> RevisionId | None:
        """The revision that the order names. One that is gone since it was named, or never was, is ignored where it
        only came back as it was read."""
        name = _name(self._asked, key)
        if not name:
            return None
        found = next((one for one in self._revisions if one.id == name), None)
        if found is None:
            if name != _name(self._earlier, key):
                ids = ", ".join(one.id for one in self._revisions) or "none"
                raise Invalid(f"spec.revision.{key}", f"must be a revision of this workload: {ids}", value=name)
            self._ignore(key, "no such revision is kept")
            return None
        if not _usable(found) and name == _name(self._earlier, key):
            self._ignore(key, "that revision was never built")
            return None
        self._require_usable(found, key)
        return found.id

    def _require_usable(self, revision: RevisionView, key: str) -> None:
        if not _usable(revision):
            usable = ", ".join(one.id for one in self._revisions if _usable(one)) or "none"
            rule = f"must be a revision that was built, and {revision.id} never was ({revision.state}): {usable}"
            raise Invalid(f"spec.revision.{key}", rule, value=revision.id, hint="Deploy its source again.")

    def _refuse_beside(self, key: str, why: str) -> None:
        """`traffic` contradicts a revision that is named, unless the name only came back as it was read."""
        name = _name(self._asked, key)
        if name and name != _name(self._earlier, key):
            rule = f"contradicts spec.revision.{key}: {self.traffic} {why}; leave one out"
            raise Invalid("spec.revision.traffic", rule, value=self.traffic)
        if name:
            self._ignore(key, f"spec.revision.traffic {why}")

    def _ignore(self, key: str, why: str) -> None:
        self._ignored.append(_ignored(key, why))

    def _steer(self, wanted: Split, *, held: str = "", share: int = 0) -> Steer:
        return Steer(wanted=wanted, held=held, share=share, ignored=tuple(dict.fromkeys(self._ignored)))


def with_share(spec: dict[str, Any], steer: Steer) -> dict[str, Any]:
    """The specification of a new revision with its share at its deployment written into it."""
    return {**spec, "revision": {**(spec.get("revision") or {}), "traffic": steer.share}}


def is_held(spec: Mapping[str, Any]) -> bool:
    """Whether the revision with this specification was to be built and kept, and not to serve."""
    return (spec.get("revision") or {}).get("traffic") == 0


def startable(traffic: Traffic, revisions: Sequence[RevisionView]) -> tuple[RevisionView, ...]:
    """Those that are built and wanted now, and were at rest: they are to be BUILT again, so that they are started."""
    at_rest = (RevisionState.HELD, RevisionState.SUPERSEDED, RevisionState.FAILED)
    return tuple(one for one in revisions if one.id in traffic.wanted.revisions and one.state in at_rest)


def _usable(revision: RevisionView) -> bool:
    """Whether it can be made to serve, now or once its build is done."""
    return revision.built or revision.state in (RevisionState.UPLOADING, RevisionState.BUILDING)


def _stepped_back(revision: RevisionView) -> bool:
    return revision.state is RevisionState.SUPERSEDED and revision.served


def _share(asked: Mapping[str, Any], key: str) -> int | None:
    return read_int(asked, key, f"spec.revision.{key}", _PERCENT)


def _name(asked: Mapping[str, Any], key: str) -> str | None:
    return read_text(asked, key, f"spec.revision.{key}")


def _ignored(key: str, why: str) -> Ignored:
    return Ignored(field=f"spec.revision.{key}", why=why)
