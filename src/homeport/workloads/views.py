"""What the rollout looks at: a resource, its revisions and its replicas, reduced to what decides.

Made by the reconcile loop from the store's rows and the driver's answers; nothing here is stored.
"""

from dataclasses import dataclass
from datetime import datetime

from homeport.core.ids import ReplicaId, RevisionId
from homeport.workloads.states import ReplicaState, RevisionState
from homeport.workloads.traffic import NO_TRAFFIC, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceView:
    """What is desired. A generation may have a revision of its own, which may still be on its way."""

    generation: int
    traffic: Traffic = NO_TRAFFIC
    enabled: bool = True
    deleting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """One version. `min_scale`: how many replicas its workload wants of it. `built`: its bundle is there. `served`: it
    has answered, or its job was executed with it. `volumes`: the names of those that it mounts and that outlive it;
    `alone`: those of them with which a replica must be alone."""

    id: RevisionId
    generation: int
    state: RevisionState
    min_scale: int = 0
    built: bool = True
    served: bool = True
    volumes: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()

    @property
    def replicas_wanted(self) -> int:
        """At least one, since nothing yet starts a replica when a request comes; no more where it must be alone."""
        return 1 if self.alone else max(1, self.min_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One copy, and what was seen of it in this pass.

    `changed_at` is when it took its state; `ready_at` when it last became ready, None if never. `restarts` counts the
    times in a row that it ended by itself. Seen: `alive`, its unit has not ended; `listening`, its unit listens on
    the replica's `port`; `elsewhere`, the other ports on which it listens while it starts; `inside`, those where nobody
    else reaches it; `idle`, no request is left
    on it (only asked of draining ones); `message`, how its unit ended or what is odd about it.
    """

    id: ReplicaId
    revision_id: RevisionId
    ordinal: int
    state: ReplicaState
    changed_at: datetime
    ready_at: datetime | None = None
    restarts: int = 0
    alive: bool = True
    port: int = 0
    listening: bool = False
    elsewhere: tuple[int, ...] = ()
    inside: tuple[int, ...] = ()
    idle: bool = False
    message: str = ""
