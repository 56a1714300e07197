"""How requests, or executions, are shared among the revisions of a workload: what is, what is wanted, and how the one
becomes the other.

Stored with the workload, apart from its specification. What an order asks for is read in
`homeport.workloads.steering`; the rollout makes `served` what is `wanted` once every revision of it answers, in one
commit, or gives the order up.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from homeport.core.ids import RevisionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """At most two revisions: `canary` gets `percent` of the requests, `active` the others. None: no such revision."""

    active: RevisionId | None = None
    canary: RevisionId | None = None
    percent: int = 0

    @property
    def revisions(self) -> tuple[RevisionId, ...]:
        """Those that have replicas for it, whatever their share."""
        return tuple(one for one in (self.active, self.canary) if one is not None)

    def share_of(self, revision: RevisionId) -> int:
        """In percent."""
        if revision == self.canary:
            return self.percent
        return 100 - self.percent if revision == self.active else 0

    def without(self, revision: RevisionId, earlier: "Split") -> "Split":
        """The same once `revision` cannot be had: its part is again that of `earlier`, what was served before."""
        if self.active == revision and self.canary is None:
            return earlier
        active = earlier.active if self.active == revision else self.active
        canary, percent = self.canary, self.percent
        if canary == revision:
            same = self.active == earlier.active
            canary, percent = (earlier.canary, earlier.percent) if same else (None, 0)
        if active is None:
            return Split(active=canary)
        if canary is None or canary == active:
            return Split(active=active)
        return Split(active=active, canary=canary, percent=percent)

    def choose(self, draw: float) -> RevisionId | None:
        """Of whom an execution is, by a number from 0 up to, and not including, 1."""
        return self.canary if self.canary is not None and draw * 100 < self.percent else self.active


NOBODY = Split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """`served` is what the gateway is told, `wanted` what was asked for last; they differ while a rollout is under way.
    `previous` was active before the present one. `failed` is the revision for which the last order was given up."""

    served: Split = NOBODY
    wanted: Split = NOBODY
    previous: RevisionId | None = None
    failed: RevisionId | None = None

    @property
    def under_way(self) -> bool:
        return self.served != self.wanted

    @property
    def named(self) -> tuple[RevisionId, ...]:
        """The revisions that are kept however many newer ones there are."""
        named = (*self.served.revisions, *self.wanted.revisions, *((self.previous,) if self.previous else ()))
        return tuple(dict.fromkeys(named))

    @property
    def required(self) -> tuple[RevisionId, ...]:
        """Those that must answer before `wanted` is served: all that have a part that they do not have now."""
        new = []
        if self.wanted.active != self.served.active:
            new.append(self.wanted.active)
        if self.wanted.canary != self.served.canary:
            new.append(self.wanted.canary)
        return tuple(one for one in new if one is not None)

    def asked(self, wanted: Split) -> "Traffic":
        """After an order. Where the same revisions keep their parts, the new shares hold at once."""
        same = (wanted.active, wanted.canary) == (self.served.active, self.served.canary)
        return replace(self, wanted=wanted, served=wanted if same else self.served, failed=None)

    def switched(self) -> "Traffic":
        """Once what is wanted answers."""
        changed = self.wanted.active != self.served.active
        return replace(self, served=self.wanted, previous=self.served.active if changed else self.previous)

    def given_up(self, revision: RevisionId) -> "Traffic":
        """Once `revision` cannot be made to take its part. One that serves keeps the part it has."""
        serves = revision in self.served.revisions
        wanted = self.served if serves else self.wanted.without(revision, self.served)
        return replace(self, wanted=wanted, failed=revision)

    def among(self, known: Collection[RevisionId]) -> "Traffic":
        """The same where some revisions are gone."""
        return self if self.previous is None or self.previous in known else replace(self, previous=None)

    def to_json(self) -> dict[str, Any]:
        """What is kept in the store: only what is there."""
        parts = {"served": _to_json(self.served), "wanted": _to_json(self.wanted)}
        names = {"previous": self.previous, "failed": self.failed}
        return {key: value for key, value in {**parts, **names}.items() if value}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Traffic":
        """Raises `TypeError` for what `to_json` never makes."""
        parts = {key: Split(**stored.get(key, {})) for key in ("served", "wanted")}
        return cls(**{**stored, **parts})


NO_TRAFFIC = Traffic()


def draw_of(ident: str) -> float:
    """A number from 0 up to 1 that is drawn once for all by an id: asked again, the same execution has the same
    revision, and among many ids each number is as likely as another."""
    return int.from_bytes(hashlib.sha256(ident.encode()).digest()[:6], "big") / 2**48


def _to_json(split: Split) -> dict[str, Any]:
    found = {"active": split.active, "canary": split.canary, "percent": split.percent}
    return {key: value for key, value in found.items() if value}
