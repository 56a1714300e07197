"""The rows of the store as values. Desired state is what a caller asked for; observed state is what a loop saw.

All moments are in UTC. A row that cannot be read back raises `Internal` with its id; it is never skipped.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.core.ids import ExecutionId, Kind, ReplicaId, RevisionId, UnitId
from homeport.core.units import Outcome, endpoint_of
from homeport.identity.roles import Role as Role
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import NO_TRAFFIC, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A tenant. Its name is the first segment of every workload's address."""

    name: str
    display_name: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """An identity that belongs to one workspace. `owner_uid` is the workload that it speaks for, if any; it goes
    with that workload."""

    client_id: str
    workspace: str
    name: str
    description: str
    role: Role
    owner_uid: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is kept of a signed key: enough to name and revoke it, never enough to use it."""

    jti: str
    client_id: str
    workspace: str
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A policy, agent, job, volume or image. `spec` is the contract's object as the caller sent it (unknown ones too).

    `generation` grows with every desired change; `observed_generation` is the newest one whose outcome is known.
    `status` is None for policies, which have none. `image` is what the newest build of a workload is kept as.
    `traffic` is written by `Resources.direct` only, not by `replace`: the loops and orders change it, each in its turn.
    """

    uid: str
    workspace: str
    kind: Kind
    name: str
    display_name: str | None
    external_id: str | None
    labels: dict[str, str]
    spec: dict[str, Any]
    generation: int
    observed_generation: int
    status: WorkloadStatus | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    deleting: bool = False
    image: str | None = None
    traffic: Traffic = NO_TRAFFIC


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTag:
    """A bundle under a name. `resource_uid` is the image's, a resource of that kind. `region`: whose engine has it;
    empty for a program, which every region that runs programs has. `source`: where an engine's image comes from, by
    its content (`registry/name@sha256:…`); empty where it is nowhere else. `size` in bytes. `deployed_at`: when a
    workload was last deployed with it."""

    resource_uid: str
    name: str
    digest: str
    region: str
    source: str
    entrypoint: tuple[str, ...]
    size: int
    created_at: datetime
    updated_at: datetime
    deployed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtImage:
    """An image that a region's engine has because we pulled or built it: `digest` as in bundles, `reference` the name
    that we gave it, or nothing."""

    region: str
    digest: str
    reference: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePlace:
    """What is known of a volume besides what its caller said. `region`: where its content is, by its real name.
    `attached_to`: the uid of the workload that was given it last and exists; whether it still uses it, its
    specification and its revisions say."""

    resource_uid: str
    region: str
    attached_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A policy that was deleted: `deleted_by` names who did, for people."""

    workspace: str
    name: str
    deleted_at: datetime
    deleted_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """A secret that is kept by a name of its own, sealed in `token`. A deleted one has no token; then `updated_at` and
    `updated_by` say when and by whom. People are named, not numbered."""

    workspace: str
    name: str
    token: str | None = field(repr=False)
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str

    @property
    def deleted(self) -> bool:
        return self.token is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An immutable version of a workload: `spec`, where it was placed, and what was built for it. Only `state`,
    the digests, `source_commit`, `source_logins`, `entrypoint`, `message` and `updated_at` change, while it is made.
    `source_commit` is what the source was fetched as, None for one that was uploaded; `source_logins` the logins of
    registries that came in the upload, sealed."""

    id: RevisionId
    resource_uid: str
    workspace: str
    kind: Kind
    name: str
    generation: int
    state: RevisionState
    spec: dict[str, Any]
    region: str
    flavor: str
    source_digest: str | None
    bundle_digest: str | None
    entrypoint: tuple[str, ...]
    message: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    source_commit: str | None = None
    source_logins: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One running copy of an agent's revision. `unit` is the process that stands for it now; a restart of the same
    replica takes a new unit. `address`: where it is reached, once it is ready, as its unit's status says; empty for
    this machine's loopback."""

    id: ReplicaId
    revision_id: RevisionId
    resource_uid: str
    ordinal: int
    state: ReplicaState
    unit: UnitId
    port: int
    restarts: int
    message: str
    created_at: datetime
    ready_at: datetime | None
    changed_at: datetime
    address: str = ""

    @property
    def endpoint(self) -> tuple[str, int]:
        """The address and port at which it is reached."""
        return endpoint_of(self.address, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a resource, in the contract's shape, plus a reason constant of ours. `revision` is the
    one concerned, `canary_revision` the canary then or by it."""

    resource_uid: str
    time: datetime
    type: str
    status: str
    message: str
    revision: str = ""
    reason: str = ""
    canary_revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedEvent:
    """An event with what it happened to. Numbers grow and are never used again."""

    number: int
    workspace: str
    kind: Kind
    name: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Events of one workspace, or of all; what is empty selects nothing out. `after`: oldest first from that number on,
    else newest first, from before `before` where that is given. Times: from `since` on, and before `until`."""

    limit: int
    workspace: str | None = None
    kind: Kind | None = None
    name: str = ""
    reason: str = ""
    revision: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of a job. Its settings are copied at creation: later changes of the job leave it alone.

    Invisible (`visible` False) while its tasks are staged. `request_id` and `request_digest` make creation
    repeatable. The counts always add up: total = pending + running + succeeded + failed + cancelled. `timed_out` are
    those of `failed` whose last attempt timed out; `lost` counts attempts whose end cannot be known. `stop_grace_s` is
    set once what runs shall be stopped: seconds from SIGTERM to SIGKILL.
    """

    id: ExecutionId
    workspace: str
    job: str
    job_uid: str
    revision_id: RevisionId
    request_id: str
    request_digest: str
    visible: bool
    status: ExecutionStatus
    parallelism: int
    timeout_s: int
    max_retries: int
    memory_mb: int
    memory_override: int | None
    env_override: dict[str, str]
    created_by: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    total: int = 0
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    timed_out: int = 0
    lost: int = 0
    stop_grace_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One element of an execution. `attempts` counts starts; `not_before` is when a retry may begin; `lease` is the
    token of whoever works on it now."""

    execution_id: ExecutionId
    index: int
    arguments: str
    status: TaskStatus
    attempts: int
    not_before: datetime | None
    lease: str | None
    lease_until: datetime | None
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a task (`number` from 1). Durable before its unit starts."""

    unit: UnitId
    execution_id: ExecutionId
    index: int
    number: int
    state: AttemptState
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A page of resources of one kind. `sort` is one of the contract's four values. `after` is the `next` of the
    page before. `q` is trimmed, lower-case and at least two characters, or None. `statuses` empty means all.
    `from_end` gives the last page. `external_id`: only those with this one."""

    workspace: str
    kind: Kind
    limit: int
    sort: str = "createdAt:desc"
    after: tuple[str, str] | None = None
    q: str | None = None
    statuses: frozenset[str] = field(default_factory=frozenset)
    from_end: bool = False
    external_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePage:
    """`next` is the position after the last item, None at the end; `total` ignores filters (public contract)."""

    items: list[Resource]
    next: tuple[str, str] | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionQuery:
    """A page of the executions of one job, whose name is their id. `sort`, `after` and `q` as in `ListQuery`."""

    workspace: str
    job: str
    limit: int
    sort: str = "createdAt:desc"
    after: tuple[str, str] | None = None
    offset: int = 0
    q: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """A page of the tasks of one execution in the order of their indexes, or against it. `after` is the index of the
    last task of the page before. `q`, as in `ListQuery`, is part of a task's name."""

    execution_id: ExecutionId
    limit: int
    after: int | None = None
    descending: bool = False
    q: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPage:
    """Executions of one job; `next` as in `ResourcePage`."""

    items: list[Execution]
    next: tuple[str, str] | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinish:
    """How an attempt changes its task: the attempt's end, and the task's next status. `not_before` is set when the
    task goes back to PENDING for a retry."""

    unit: UnitId
    lease: str
    outcome: Outcome
    attempt_state: AttemptState
    task_status: TaskStatus
    not_before: datetime | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """table, name: which row. why: what it lacks. since: when it last changed, where the row says so."""

    table: str
    name: str
    why: str
    since: datetime | None
