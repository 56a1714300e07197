"""Records for tests, complete and valid, so that a test names only what it is about. Every factory takes the fields
that shall differ. Used by the contract suites and by anybody's tests; ships with Homeport for those who extend it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from homeport.core.ids import ExecutionId, Kind, ReplicaId, RevisionId, UnitId
from homeport.core.units import Outcome
from homeport.jobs.states import AttemptState, ExecutionStatus, TaskStatus
from homeport.store.records import (
    ApiKey,
    Event,
    Execution,
    ExecutionQuery,
    Replica,
    Resource,
    Revision,
    Role,
    ServiceAccount,
    TaskFinish,
    Workspace,
)
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
"""When everything that a factory makes was made."""


def make_workspace(name: str = "home", **changes: Any) -> Workspace:
    workspace = Workspace(name=name, display_name=name.title(), created_at=NOON, created_by="tests")
    return replace(workspace, **changes)


def make_account(client_id: str = "sa-one", **changes: Any) -> ServiceAccount:
    account = ServiceAccount(
        client_id=client_id,
        workspace="home",
        name="one",
        description="",
        role=Role.ADMIN,
        owner_uid=None,
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(account, **changes)


def make_key(jti: str = "key-one", **changes: Any) -> ApiKey:
    key = ApiKey(
        jti=jti,
        client_id="sa-one",
        workspace="home",
        name="one",
        created_at=NOON,
        created_by="tests",
        expires_at=None,
        revoked_at=None,
    )
    return replace(key, **changes)


def page_query(limit: int, after: tuple[str, str] | None = None, **changes: Any) -> ExecutionQuery:
    """A page of the executions of job `sums` in workspace `home`."""
    return replace(ExecutionQuery(workspace="home", job="sums", limit=limit, after=after), **changes)


def make_resource(name: str = "one", **changes: Any) -> Resource:
    """An agent that is deployed; its uid is `{kind}-{name}` unless given."""
    kind = changes.get("kind", Kind.AGENT)
    resource = Resource(
        uid=f"{kind}-{name}",
        workspace="home",
        kind=kind,
        name=name,
        display_name=None,
        external_id=None,
        labels={},
        spec={},
        generation=1,
        observed_generation=1,
        status=None if kind is Kind.POLICY else WorkloadStatus.DEPLOYED,
        created_at=NOON,
        created_by="tests",
        updated_at=NOON,
        updated_by="tests",
    )
    return replace(resource, **changes)


def make_revision(resource: Resource | None = None, **changes: Any) -> Revision:
    """A serving revision of `resource` (of `make_resource()` when absent) at its generation."""
    of = resource or make_resource()
    revision = Revision(
        id=RevisionId(f"rev-{of.name}-{changes.get('generation', of.generation)}"),
        resource_uid=of.uid,
        workspace=of.workspace,
        kind=of.kind,
        name=of.name,
        generation=of.generation,
        state=RevisionState.SERVING,
        spec=of.spec,
        region="local",
        flavor="cpu",
        source_digest=None,
        bundle_digest=None,
        entrypoint=(),
        message="",
        created_at=NOON,
        created_by="tests",
        updated_at=NOON,
    )
    return replace(revision, **changes)


def make_replica(revision: Revision | None = None, **changes: Any) -> Replica:
    """A ready replica of `revision` (of `make_revision()` when absent)."""
    of = revision or make_revision()
    ordinal = changes.get("ordinal", 0)
    replica = Replica(
        id=ReplicaId(f"rep-{of.name}-{ordinal}"),
        revision_id=of.id,
        resource_uid=of.resource_uid,
        ordinal=ordinal,
        state=ReplicaState.READY,
        unit=UnitId(f"unit-{of.name}-{ordinal}"),
        port=20000 + ordinal,
        restarts=0,
        message="",
        created_at=NOON,
        ready_at=NOON,
        changed_at=NOON,
    )
    return replace(replica, **changes)


def make_event(resource: Resource | None = None, **changes: Any) -> Event:
    of = resource or make_resource()
    event = Event(resource_uid=of.uid, time=NOON, type="deployment", status="DEPLOYED", message="It serves")
    return replace(event, **changes)


def make_execution(execution_id: str = "exec-one", **changes: Any) -> Execution:
    """A visible execution without tasks; its request id is `req-{id}` unless given."""
    execution = Execution(
        id=ExecutionId(execution_id),
        workspace="home",
        job="sums",
        job_uid="job-sums",
        revision_id=RevisionId("rev-sums-1"),
        request_id=f"req-{execution_id}",
        request_digest="0" * 64,
        visible=True,
        status=ExecutionStatus.PENDING,
        parallelism=10,
        timeout_s=60,
        max_retries=1,
        memory_mb=512,
        memory_override=None,
        env_override={},
        created_by="tests",
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(execution, **changes)


def make_finish(unit: UnitId, lease: str, **changes: Any) -> TaskFinish:
    """The end of an attempt that succeeded."""
    finish = TaskFinish(
        unit=unit,
        lease=lease,
        outcome=Outcome(exit_code=0),
        attempt_state=AttemptState.SUCCEEDED,
        task_status=TaskStatus.SUCCEEDED,
        not_before=None,
        message="",
    )
    return replace(finish, **changes)
