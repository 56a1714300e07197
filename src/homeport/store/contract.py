"""What a store promises. Every implementation passes `homeport.testing.store_suite`.

Work is handed to the store as a plain function of a `Transaction`, so that a use case writes everything it decides in
one commit or nothing of it. `read` sees one snapshot. `write` commits with full synchronisation before it returns;
several waiting writes may share one commit, and one that raises undoes only itself. The function runs on another
thread and may be run again, so it has no side effects of its own. A `Conflict` ends the work that met it: nothing
written before it in the same work stays, so catch it around `write`, not inside.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from homeport.core.errors import Unavailable
from homeport.core.ids import ExecutionId, Kind, ReplicaId, RevisionId, UnitId
from homeport.jobs.entries import Entry, StoredTask
from homeport.jobs.states import ExecutionStatus
from homeport.store.invocation_contract import Invocations, Schedules
from homeport.store.records import (
    ApiKey,
    Attempt,
    BroughtImage,
    Event,
    EventQuery,
    Execution,
    ExecutionPage,
    ExecutionQuery,
    ImageTag,
    ListQuery,
    Orphan,
    PlacedEvent,
    Replica,
    Resource,
    ResourcePage,
    Revision,
    ServiceAccount,
    StoredSecret,
    Task,
    TaskFinish,
    TaskQuery,
    Tombstone,
    VolumePlace,
    Workspace,
)
from homeport.store.sealed import Sealed
from homeport.workloads.states import ReplicaState, RevisionState
from homeport.workloads.traffic import Traffic

T = TypeVar("T")


class Identities(Protocol):
    """Workspaces, service accounts and what is known of keys."""

    def add_workspace(self, workspace: Workspace) -> None:
        """Raises `Conflict` for a name that exists."""
        ...

    def workspace(self, name: str) -> Workspace | None: ...

    def workspaces(self) -> list[Workspace]: ...

    def add_account(self, account: ServiceAccount) -> None:
        """Raises `Conflict` for a client id that exists, or when the workload has an account already."""
        ...

    def replace_account(self, account: ServiceAccount) -> bool:
        """Write name, description, role and updated_at. False if it is gone."""
        ...

    def account(self, client_id: str) -> ServiceAccount | None: ...

    def accounts(self, workspace: str) -> list[ServiceAccount]:
        """Every account of the workspace, in order of creation."""
        ...

    def account_of(self, owner_uid: str) -> ServiceAccount | None:
        """The account that speaks for this workload."""
        ...

    def remove_account(self, client_id: str, now: datetime) -> None:
        """Remove the account and revoke its keys."""
        ...

    def add_key(self, key: ApiKey) -> None: ...

    def key(self, jti: str) -> ApiKey | None: ...

    def keys(self, client_id: str) -> list[ApiKey]: ...

    def revoke_key(self, jti: str, now: datetime) -> bool:
        """False if there is no such key or it was revoked before."""
        ...

    def revoked_keys(self, now: datetime) -> list[str]:
        """The `jti` of every key that is revoked and not yet expired."""
        ...

    def prune_keys(self, now: datetime) -> int:
        """Remove the keys that are revoked and have expired: nobody need refuse them any more. Returns how many."""
        ...


class Resources(Protocol):
    """Policies, agents, jobs, volumes and images."""

    def insert(self, resource: Resource) -> None:
        """Raises `Conflict` if the name is taken in this workspace and kind."""
        ...

    def get(self, workspace: str, kind: Kind, name: str) -> Resource | None: ...

    def by_uid(self, uid: str) -> Resource | None: ...

    def replace(self, resource: Resource, expected_generation: int) -> bool:
        """Write every field but uid, workspace, kind, name, the creation's and `traffic`. False, and nothing written,
        unless the stored generation is the expected one."""
        ...

    def direct(self, uid: str, traffic: Traffic) -> None:
        """Write how its requests are shared. Harmless where it is gone."""
        ...

    def delete(self, uid: str) -> None:
        """Remove the resource with its revisions, replicas and events. Executions stay."""
        ...

    def page(self, query: ListQuery) -> ResourcePage: ...

    def rewrite_specs(self, change: Callable[[Resource], dict[str, Any]], only: Sealed | None = None) -> int:
        """Replace the spec of every resource, or of those that `only` finds, by what `change` makes of it, and nothing
        else; returns how many differ. For a change of how specs are kept, which is none of what they say."""
        ...

    def with_setting(self, kind: Kind, names: Iterable[str]) -> list[Resource]:
        """Those whose spec has a member of one of these names, at whatever depth. Reads them all, but none that has not
        leaves the database."""
        ...

    def unsettled(
        self,
        kind: Kind,
        states: Iterable[RevisionState],
        replica_states: Iterable[ReplicaState],
        revisions_kept: int,
    ) -> list[Resource]:
        """Those of which something may be under way, oldest first, for the loops: they go away, their status does not
        say how the newest generation ended, a revision is in one of `states`, a replica in one of `replica_states`, or
        they have more than `revisions_kept` revisions. Waiting for an archive or a build is no motion. Answered by
        indexes, so that those at rest cost nothing, however many they are."""
        ...

    def by_external_id(self, workspace: str, kind: Kind, external_id: str) -> Resource | None:
        """The newest one that does not go away, since an external id may be that of several (public contract)."""
        ...

    def uids(self, kind: Kind) -> list[str]:
        """Of all workspaces."""
        ...

    def count(self, workspace: str, kind: Kind) -> int: ...

    def using_policy(self, workspace: str, policy: str) -> list[Resource]:
        """Resources whose `spec.policies` names the policy."""
        ...

    def count_policy_users(self, workspace: str, policies: Sequence[str]) -> dict[str, dict[Kind, int]]:
        """How many resources of each kind name each of `policies`; what nobody names is left out."""
        ...


class Tombstones(Protocol):
    """Policies that were deleted."""

    def add(self, tombstone: Tombstone, keep: int = 1000) -> None:
        """Set it, in place of an earlier one of this name. Of those in the workspace that no workload's `spec.policies`
        names, only the newest `keep` are kept; one that a workload names stays."""
        ...

    def get(self, workspace: str, name: str) -> Tombstone | None: ...

    def remove(self, workspace: str, name: str) -> None:
        """For a policy that exists again. Harmless where there is none."""
        ...


class Volumes(Protocol):
    """Where volumes are, and what they are attached to. A place goes with its volume, an attachment with either end."""

    def add(self, place: VolumePlace) -> None:
        """For a volume whose resource is there."""
        ...

    def of(self, uids: Sequence[str]) -> dict[str, VolumePlace]:
        """The places of these volumes, by their uid."""
        ...

    def attached(self) -> list[VolumePlace]:
        """Of all workspaces, those that are attached."""
        ...

    def attach(self, volume_uid: str, resource_uid: str | None) -> None:
        """None frees it. Whether it may be is not asked here."""
        ...


class Secrets(Protocol):
    """Stored secrets. Deleted ones are found by name, and listed no more."""

    def put(self, secret: StoredSecret, keep: int = 1000) -> None:
        """Set it, in place of an earlier one of this name. Of the deleted ones of its workspace only the newest
        `keep` are kept."""
        ...

    def get(self, workspace: str, name: str) -> StoredSecret | None: ...

    def of(self, workspace: str) -> list[StoredSecret]:
        """Those that are not deleted, by name."""
        ...

    def rewrite_tokens(self, change: Callable[[StoredSecret], str], only: Sealed | None = None) -> int:
        """As `Resources.rewrite_specs`, for those that are not deleted."""
        ...


class Revisions(Protocol):
    """The versions of workloads."""

    def insert(self, revision: Revision) -> None:
        """Raises `Conflict` if the id is taken or the resource is gone."""
        ...

    def get(self, revision_id: RevisionId) -> Revision | None: ...

    def of(self, resource_uid: str) -> list[Revision]:
        """Newest generation first."""
        ...

    def of_each(self, resource_uids: Sequence[str]) -> dict[str, list[Revision]]:
        """As `of`, for many at once; a resource without revisions has an empty list."""
        ...

    def digests(self) -> set[str]:
        """Of every source and every bundle that a revision names."""
        ...

    def in_states(self, states: Iterable[RevisionState]) -> list[Revision]:
        """Oldest first."""
        ...

    def built_as(self, workspace: str, digests: Iterable[str]) -> list[Revision]:
        """Those of the workspace whose bundle is one of these."""
        ...

    def replace_if_state(self, revision: Revision, expected: RevisionState) -> bool:
        """Write state, region and flavor, digests, logins, entrypoint, message and updated_at. False unless the stored
        state is the expected."""
        ...

    def rewrite_specs(self, change: Callable[[Revision], dict[str, Any]], only: Sealed | None = None) -> int:
        """As `Resources.rewrite_specs`."""
        ...

    def rewrite_logins(self, change: Callable[[Revision], str], only: Sealed | None = None) -> int:
        """As `Resources.rewrite_specs`, for the `source_logins` of those that have some."""
        ...

    def delete(self, revision_id: RevisionId) -> None: ...


class Images(Protocol):
    """What images hold, and what engines have because of us. An image itself is a resource."""

    def put(self, tag: ImageTag) -> None:
        """Set it, in place of an earlier one of this name. Raises `Conflict` where the image is gone."""
        ...

    def of(self, resource_uid: str) -> list[ImageTag]:
        """By name."""
        ...

    def in_workspace(self, workspace: str) -> dict[str, list[ImageTag]]:
        """By the image's uid; those without tags are left out."""
        ...

    def every(self) -> dict[str, list[ImageTag]]:
        """As `in_workspace`, of all workspaces."""
        ...

    def remove(self, resource_uid: str, name: str) -> None:
        """Harmless where there is none."""
        ...

    def digests(self) -> set[str]:
        """Of every bundle that a tag names."""
        ...

    def bring(self, image: BroughtImage) -> None:
        """Note that an engine has it because of us. One that is noted keeps its moment, and takes the new reference."""
        ...

    def brought(self) -> list[BroughtImage]:
        """Oldest first."""
        ...

    def forget_brought(self, region: str, digest: str) -> None:
        """Harmless where there is none."""
        ...


class Replicas(Protocol):
    """The copies of agents that run or shall run."""

    def insert(self, replica: Replica) -> None:
        """Raises `Conflict` if the id or the unit is taken, or the resource is gone."""
        ...

    def get(self, replica_id: ReplicaId) -> Replica | None: ...

    def by_unit(self, unit: UnitId) -> Replica | None: ...

    def every(self) -> list[Replica]:
        """Oldest first."""
        ...

    def of(self, resource_uid: str) -> list[Replica]:
        """Oldest first."""
        ...

    def of_each(self, resource_uids: Sequence[str]) -> dict[str, list[Replica]]:
        """Each resource's, oldest first; an entry for each that was asked for."""
        ...

    def ports(self) -> set[int]:
        """Of all of them."""
        ...

    def replace(self, replica: Replica) -> bool:
        """False if it is gone."""
        ...

    def delete(self, replica_id: ReplicaId) -> None: ...


class Events(Protocol):
    """What happened to resources."""

    def add(self, event: Event, keep: int = 100) -> None:
        """Append; only the newest `keep` of a resource are kept. An event of a resource that is gone is dropped: its
        history went with it."""
        ...

    def of(self, resource_uid: str) -> list[Event]:
        """Oldest first."""
        ...

    def find(self, query: EventQuery) -> list[PlacedEvent]:
        """Those that the query selects, at most `limit`, in its order."""
        ...

    def newest(self) -> int:
        """The number of the newest event that there is, of any workspace; 0 for none."""
        ...


class Executions(Protocol):
    """Executions with their tasks and attempts. Counts are kept in the same commit as what they count."""

    def insert(self, execution: Execution) -> None:
        """Raises `Conflict` if the id is taken, in whatever workspace: units and look-ups go by the id alone."""
        ...

    def add_tasks(self, execution_id: ExecutionId, first: int, arguments: Sequence[str], now: datetime) -> None:
        """Stage pending tasks `first`, `first`+1, … and add them to the execution's counts. Raises `NotFound` without
        the execution, `Conflict` for a task that is there already."""
        ...

    def publish(self, execution_id: ExecutionId, now: datetime) -> None:
        """Make a staged execution visible. Raises `Conflict` if another one of the same workspace, job and request id
        is visible."""
        ...

    def discard_staged(self, keep: Collection[ExecutionId]) -> int:
        """Remove invisible executions other than these; returns how many."""
        ...

    def get(self, execution_id: ExecutionId) -> Execution | None:
        """Visible or not."""
        ...

    def by_request(self, workspace: str, job: str, request_id: str) -> Execution | None:
        """Visible ones only."""
        ...

    def page(self, query: ExecutionQuery) -> ExecutionPage:
        """Visible ones only."""
        ...

    def newest_like(self, workspace: str, job: str, beginning: str) -> ExecutionId | None:
        """The visible execution of this job whose id begins so; the newest where several do."""
        ...

    def rewrite_overrides(
        self, change: Callable[[Execution], tuple[dict[str, str], str]], only: Sealed | None = None
    ) -> int:
        """Replace the overriding variables and the request digest of every execution that has variables, or of those
        that `only` finds, by what `change` makes of them; returns how many there are."""
        ...

    def completed_since(self, moment: datetime) -> list[Execution]:
        """Those that ended at `moment` or later, of all workspaces."""
        ...

    def unfinished(self) -> list[Execution]:
        """Visible executions in no terminal status, oldest first."""
        ...

    def set_status(self, execution_id: ExecutionId, status: ExecutionStatus, now: datetime) -> None:
        """Set started_at when it first becomes RUNNING, completed_at when it becomes terminal, cancel_requested_at
        when it becomes CANCELLING. A terminal status never changes again: then this does nothing."""
        ...

    def ask_stop(self, execution_id: ExecutionId, grace_s: int, now: datetime) -> None:
        """Of an execution that is CANCELLING: what runs shall be stopped, and killed after so many seconds. Does
        nothing to any other, nor for a grace that is not shorter than the one asked for before."""
        ...

    def entries(self, execution_id: ExecutionId, after: int, limit: int) -> Iterator[Entry]:
        """At most `limit` entries of its history after number `after`, in order. Each of the changes above of a visible
        execution is in it, written in the same commit; it is never changed, and goes with its execution."""
        ...

    def stored_tasks(self, execution_id: ExecutionId) -> Iterator[StoredTask]:
        """Every task with how its attempts stand, in order."""
        ...

    def cancel_pending_tasks(self, execution_id: ExecutionId, now: datetime) -> int:
        """Set every PENDING task to CANCELLED; returns how many."""
        ...

    def claim(
        self, execution_id: ExecutionId, limit: int, now: datetime, lease: str, lease_until: datetime
    ) -> list[Task]:
        """Take up to `limit` pending tasks whose `not_before` has come, lowest index first: RUNNING, leased,
        attempts + 1, with an `Attempt` row in state STARTING each (its unit id is `attempt_unit(...)`). Never more than
        the execution's parallelism leaves room for, and none once it is being cancelled. A `not_before` further ahead
        than the longest back-off has come, too: the clock was set back meanwhile."""
        ...

    def start_attempt(self, unit: UnitId, lease: str, now: datetime) -> bool:
        """STARTING to RUNNING, once its unit runs. False if the lease is no longer this one or it has moved on. The
        task's `started_at` is its first attempt's; its `scheduled_at` likewise is its first claim's."""
        ...

    def finish_task_if_running(self, finish: TaskFinish, now: datetime) -> bool:
        """End the attempt and move its task. False, nothing written, unless the attempt is open and the task still
        holds this lease. A task that goes back to PENDING counts as retried unless the attempt was STOPPED,
        one that FAILED by an attempt that TIMED_OUT as timed out, an attempt that is LOST as lost. Raises `Internal`
        for an end that is none: an open attempt state, or a task that stays RUNNING."""
        ...

    def task(self, execution_id: ExecutionId, index: int) -> Task | None: ...

    def tasks(self, execution_id: ExecutionId, first: int, limit: int) -> list[Task]:
        """Tasks `first`, `first`+1, … in order."""
        ...

    def task_page(self, query: TaskQuery) -> tuple[list[Task], bool]:
        """A page of tasks, and whether more follow."""
        ...

    def attempt(self, unit: UnitId) -> Attempt | None: ...

    def attempts(self, execution_id: ExecutionId, index: int) -> list[Attempt]:
        """In order of number."""
        ...

    def open_attempts(self) -> list[tuple[Attempt, str]]:
        """Every attempt that has not ended, with its task's lease: what a starting runner takes up again."""
        ...


class Transaction(Protocol):
    """One unit of work."""

    @property
    def identities(self) -> Identities: ...

    @property
    def resources(self) -> Resources: ...

    @property
    def tombstones(self) -> Tombstones: ...

    @property
    def secrets(self) -> Secrets: ...

    @property
    def revisions(self) -> Revisions: ...

    @property
    def images(self) -> Images: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def replicas(self) -> Replicas: ...

    @property
    def events(self) -> Events: ...

    @property
    def executions(self) -> Executions: ...

    @property
    def invocations(self) -> Invocations: ...

    @property
    def schedules(self) -> Schedules: ...

    def orphans(self, now: datetime) -> list[Orphan]:
        """Rows that nobody owns, in whatever table; none in a sound store."""
        ...

    def note(self, key: str) -> str | None:
        """A small durable value, such as a cursor."""
        ...

    def set_note(self, key: str, value: str) -> None: ...


class Store(Protocol):
    """The durable state of one installation."""

    async def start(self) -> None:
        """Open, and bring the schema to this version. Raises `StoreUnavailable` with what to do if it cannot."""
        ...

    async def stop(self) -> None: ...

    @property
    def failure(self) -> Unavailable | None:
        """Why the last change could not be written: None again once one was, and for ever where the database is
        damaged."""
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T: ...

    async def scrub(self) -> None:
        """Overwrite what replaced and deleted rows left behind in the files. Nothing else may use the store."""
        ...

    async def write(self, work: Callable[[Transaction], T]) -> T: ...


def attempt_unit(execution_id: ExecutionId, index: int, number: int) -> UnitId:
    """The unit of an attempt: derived, so that a start that was interrupted is found again under the same id."""
    return UnitId(f"{execution_id}-{index}-{number}")
