"""The states of workloads, their revisions and their replicas. Drawn in `docs/states.md`."""

from enum import StrEnum


class WorkloadStatus(StrEnum):
    """The contract's deployment status (public API reference); members that Homeport never sets are left out."""

    UPLOADING = "UPLOADING"  # waiting for the archive
    BUILDING = "BUILDING"  # dependencies are being installed
    BUILT = "BUILT"  # what there is was built without serving (traffic 0), and nothing serves
    DEPLOYING = "DEPLOYING"  # replicas of the new revision are starting
    DEPLOYED = "DEPLOYED"  # the newest generation serves
    FAILED = "FAILED"  # the newest generation could not be made to serve; an older one may still
    DEACTIVATING = "DEACTIVATING"  # enabled is false and replicas are ending
    DEACTIVATED = "DEACTIVATED"  # enabled is false and nothing runs
    DELETING = "DELETING"  # going away


# Nothing is under way for the newest generation: it serves, is kept, could not be made to serve, or is switched off.
SETTLED = (WorkloadStatus.DEPLOYED, WorkloadStatus.BUILT, WorkloadStatus.FAILED, WorkloadStatus.DEACTIVATED)


class RevisionState(StrEnum):
    """UPLOADING → BUILDING → BUILT → STARTING → SERVING → SUPERSEDED; FAILED from any but the last two. A job's
    revision goes from BUILT straight to SERVING: it has no replicas. A revision that is not to serve goes from BUILDING
    to HELD, and from there to BUILT once it is to."""

    UPLOADING = "uploading"  # waiting for its archive
    BUILDING = "building"  # its bundle is being made
    BUILT = "built"  # its bundle is there, nothing runs
    HELD = "held"  # its bundle is there; it is kept and not to serve
    STARTING = "starting"  # its first replicas are starting
    SERVING = "serving"  # it answers, or its job may be executed
    SUPERSEDED = "superseded"  # a newer one serves
    FAILED = "failed"  # it never served


class ReplicaState(StrEnum):
    """STARTING → READY → DRAINING → gone. BACKOFF: its process ended by itself and waits to be started again."""

    STARTING = "starting"  # a process, not yet listening
    READY = "ready"  # listens and is routed to
    BACKOFF = "backoff"  # ended by itself; restarts after a growing wait
    DRAINING = "draining"  # no longer routed to; may finish its requests

    @property
    def runs(self) -> bool:
        """Whether there is a process of it, or is to be one now."""
        return self is not ReplicaState.BACKOFF
