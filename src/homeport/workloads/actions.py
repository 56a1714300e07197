"""What a rollout step asks for: one class an action, each with its reason. The reconcile loop carries them out.

Each is safe to repeat, because a loop may die between doing and recording: what was done is not asked for again, what
was not is.
"""

from dataclasses import dataclass

from homeport.core.ids import ReplicaId, RevisionId
from homeport.workloads.traffic import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginStart:
    """Set the revision from BUILT to STARTING."""

    revision_id: RevisionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReplica:
    """Make replica `ordinal` of the revision, state STARTING, and start its unit."""

    revision_id: RevisionId
    ordinal: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkReady:
    """Set the replica to READY and its `ready_at` to now; if its revision serves, requests go to it."""

    replica_id: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteReplica:
    """Set the replica's message to `reason`, and tell it: it starts and something about it is odd."""

    replica_id: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Set the replica to BACKOFF with this count of restarts; no request goes to it. End its unit if it lives."""

    replica_id: ReplicaId
    restarts: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartReplica:
    """Start a new unit for the replica, state STARTING."""

    replica_id: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """What is wanted answers: let it be served, its revisions be SERVING and `superseded` be SUPERSEDED, in one commit.
    Nothing of it happens where something else is wanted meanwhile."""

    split: Split
    superseded: tuple[RevisionId, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Supersede:
    """Set a revision that was to serve to SUPERSEDED: it is not wanted any more."""

    revision_id: RevisionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Give the order up for which the revision was to serve: it is not wanted any more, and FAILED unless it serves
    already. `reason` is its message."""

    revision_id: RevisionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReplica:
    """Set the replica to DRAINING: no new request goes to it, it may finish those that it has."""

    replica_id: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReplica:
    """End the replica's unit if it lives, and remove the replica."""

    replica_id: ReplicaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRevision:
    """Remove the revision with its bundle and its output."""

    revision_id: RevisionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveResource:
    """Nothing runs any more: remove the resource with all that belongs to it."""

    reason: str


Action = (
    BeginStart
    | StartReplica
    | MarkReady
    | NoteReplica
    | BackOff
    | RestartReplica
    | Serve
    | Supersede
    | Fail
    | DrainReplica
    | StopReplica
    | DeleteRevision
    | RemoveResource
)
