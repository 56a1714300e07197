"""From the store's rows to the contract's bodies. No decisions: what a field shows is said here and nowhere else."""

from collections.abc import Sequence

from homeport.app.context import Context
from homeport.app.sealing import reveal_workload
from homeport.core.clock import timestamp
from homeport.core.ids import WORKLOADS, Kind
from homeport.sealing.specs import masked as masked_spec
from homeport.store.records import Event, Execution, Resource, Revision, Task
from homeport.wire.agents import Agent
from homeport.wire.deployments import CoreEvent, RevisionMetadata
from homeport.wire.executions import (
    CreateJobExecutionOutput,
    JobExecution,
    JobExecutionMetadata,
    JobExecutionSpec,
    JobExecutionStats,
    JobExecutionTask,
    JobExecutionTaskCondition,
    JobExecutionTaskMetadata,
    masked,
    task_name,
    task_spec,
)
from homeport.wire.functions import Function
from homeport.wire.jobs import Job
from homeport.wire.metadata import Metadata
from homeport.wire.policies import Policy, PolicyUsageCounts
from homeport.wire.volumes import LiteVolume, LiteVolumeMetadata, LiteVolumeSpec, Volume, VolumeState
from homeport.workloads.states import RevisionState
from homeport.workloads.traffic import Traffic

Workload = Agent | Function | Job
_SHAPES: dict[Kind, type[Workload]] = {Kind.AGENT: Agent, Kind.FUNCTION: Function, Kind.JOB: Job}


def metadata_of(context: Context, resource: Resource) -> Metadata:
    has_url = resource.kind in WORKLOADS
    return Metadata(
        name=resource.name,
        display_name=resource.display_name,
        external_id=resource.external_id,
        labels=resource.labels,
        created_at=timestamp(resource.created_at),
        updated_at=timestamp(resource.updated_at),
        created_by=resource.created_by,
        updated_by=resource.updated_by,
        workspace=resource.workspace,
        url=f"{context.base_url}/{resource.workspace}/{resource.kind.plural}/{resource.name}" if has_url else None,
    )


def policy_of(context: Context, resource: Resource, usage: dict[Kind, int] | None = None) -> Policy:
    counts = None
    if usage is not None:
        counts = PolicyUsageCounts(**{kind.plural: usage.get(kind, 0) for kind in WORKLOADS})
    return Policy(metadata=metadata_of(context, resource), spec=resource.spec, usage=counts)


def volume_of(context: Context, volume: Resource, events: Sequence[Event], holder: str | None) -> Volume:
    """`holder`: what has it, as the contract writes it, or nothing."""
    return Volume(
        metadata=metadata_of(context, volume),
        spec=volume.spec,
        events=[event_of(event) for event in events] or None,
        state=VolumeState(attached_to=holder),
        status=volume.status.value if volume.status else None,
        terminated_at=timestamp(volume.updated_at) if volume.deleting else None,
    )


def lite_volume_of(volume: Resource, holder: str | None) -> LiteVolume:
    """The same in a list."""
    return LiteVolume(
        metadata=LiteVolumeMetadata(
            name=volume.name,
            display_name=volume.display_name,
            external_id=volume.external_id,
            created_at=timestamp(volume.created_at),
            updated_at=timestamp(volume.updated_at),
        ),
        spec=LiteVolumeSpec(region=volume.spec.get("region"), size=volume.spec.get("size")),
        state=VolumeState(attached_to=holder),
        status=volume.status.value if volume.status else None,
        terminated_at=timestamp(volume.updated_at) if volume.deleting else None,
    )


def workload_of(
    context: Context, resource: Resource, events: Sequence[Event] = (), *, secrets: bool = False
) -> Workload:
    """An agent, a function or a job. `secrets` shows the values of its secrets."""
    shown = reveal_workload(context, resource) if secrets else masked_spec(resource.spec)
    runtime = shown.get("runtime") or {}
    if resource.image and not runtime.get("image"):
        shown = {**shown, "runtime": {**runtime, "image": resource.image}}  # filled by the build (public contract)
    return _SHAPES[resource.kind](
        metadata=metadata_of(context, resource),
        spec=shown,
        events=[event_of(event) for event in events] or None,
        status=resource.status.value if resource.status else None,
    )


def event_of(event: Event) -> CoreEvent:
    return CoreEvent(
        time=timestamp(event.time),
        type=event.type,
        status=event.status,
        message=event.message,
        revision=event.revision or None,
        canary_revision=event.canary_revision or None,
        reason=event.reason or None,
    )


def revisions_of(traffic: Traffic, revisions: Sequence[Revision]) -> list[RevisionMetadata]:
    """`revisions` newest first. One that is kept without serving is built, and nothing more, to a client."""
    served = traffic.served
    return [
        RevisionMetadata(
            id=known.id,
            status=(RevisionState.BUILT if known.state is RevisionState.HELD else known.state).value,
            created_at=timestamp(known.created_at),
            created_by=known.created_by,
            active=known.id == served.active,
            canary=known.id == served.canary,
            previous_active=known.id == traffic.previous,
            traffic_percent=served.share_of(known.id),
            source_commit=known.source_commit,
        )
        for known in revisions
    ]


def accepted_execution(execution: Execution, tasks: list[dict[str, object]] | None) -> CreateJobExecutionOutput:
    return CreateJobExecutionOutput(
        execution_id=execution.id,
        id=execution.request_id,
        job_id=execution.job,
        workspace_id=execution.workspace,
        tasks=tasks,
    )


def execution_of(execution: Execution, tasks: Sequence[Task] | None = None) -> JobExecution:
    return JobExecution(
        metadata=JobExecutionMetadata(
            id=execution.id,
            job=execution.job,
            workspace=execution.workspace,
            created_at=timestamp(execution.created_at),
            updated_at=timestamp(execution.updated_at),
            started_at=timestamp(execution.started_at) if execution.started_at else None,
            completed_at=timestamp(execution.completed_at) if execution.completed_at else None,
        ),
        spec=JobExecutionSpec(
            parallelism=execution.parallelism,
            timeout=execution.timeout_s,
            memory_override=execution.memory_override,
            env_override=masked(execution.env_override),
        ),
        status=execution.status.value,
        stats=JobExecutionStats(
            total=execution.total,
            success=execution.succeeded,
            failure=execution.failed,
            running=execution.running,
            cancelled=execution.cancelled,
            retried=execution.retried,
            lost=execution.lost,
        ),
        tasks=None if tasks is None else [task_of(execution, task) for task in tasks],
    )


def task_of(execution: Execution, task: Task) -> JobExecutionTask:
    condition = None
    if task.message:
        condition = [
            JobExecutionTaskCondition(type="Ended", state=task.status.value, reason="LastAttempt", message=task.message)
        ]
    return JobExecutionTask(
        metadata=JobExecutionTaskMetadata(
            name=task_name(task.index),
            created_at=timestamp(task.created_at),
            updated_at=timestamp(task.updated_at),
            scheduled_at=timestamp(task.scheduled_at) if task.scheduled_at else None,
            started_at=timestamp(task.started_at) if task.started_at else None,
            completed_at=timestamp(task.completed_at) if task.completed_at else None,
        ),
        spec=task_spec(execution.max_retries, execution.timeout_s),
        status=task.status.value,
        conditions=condition,
        attempts=task.attempts,
    )
