"""Volumes with which a replica must be alone: what writes to one shares it with no other replica, neither of its own
revision nor of another. Asked by the rollout (pure).

So the old one is stopped before the new one starts. Whoever calls meanwhile waits in the activator.
"""

from collections.abc import Iterable

from homeport.workloads.views import ReplicaView, RevisionView


def rivals(one: RevisionView, other: RevisionView) -> bool:
    """Whether no replica of `one` may live beside a replica of `other`, which may be of the same revision."""
    return bool(one.alone & other.volumes or other.alone & one.volumes)


def gives_way(revision: RevisionView, coming: Iterable[RevisionView]) -> RevisionView | None:
    """The one of `coming` for which a revision that serves has to stop."""
    return next((one for one in coming if one.id != revision.id and rivals(revision, one)), None)


def blocked(
    revision: RevisionView, revisions: Iterable[RevisionView], replicas: Iterable[ReplicaView], itself: str = ""
) -> bool:
    """Whether a replica of `revision` cannot start now, since one is there that may not live beside it, however it
    stands: what is on its way out may write still. `itself`: the replica that is to start, where it has a row already;
    then its own unit must have ended."""
    if not revision.volumes:
        return False
    apart = {one.id for one in revisions if rivals(revision, one)}
    return any(one.revision_id in apart and (one.id != itself or one.alive) for one in replicas)
