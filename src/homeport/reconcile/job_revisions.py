"""The rollout of a job: it has no replicas, so its newest built revision serves at once, and a deleted job goes when
nothing of it runs."""

from dataclasses import replace
from datetime import datetime

from homeport.core.ids import Kind
from homeport.core.limits import REVISIONS_KEPT
from homeport.jobs.states import ExecutionStatus
from homeport.reconcile.observation import with_status
from homeport.reconcile.replicas import remove_workload
from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource, Revision
from homeport.workloads.rollout import PASSED_OVER, surplus_revisions
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.views import RevisionView

_STATUS = {
    RevisionState.UPLOADING: WorkloadStatus.UPLOADING,
    RevisionState.BUILDING: WorkloadStatus.BUILDING,
    RevisionState.FAILED: WorkloadStatus.FAILED,
    RevisionState.SERVING: WorkloadStatus.DEPLOYED,
}


def unsettled_jobs(tx: Transaction) -> list[str]:
    """The uids of jobs for which `roll_out_job` may have something to do: so that those at rest, ordinarily all of
    them, cost a read."""
    jobs = tx.resources.unsettled(Kind.JOB, [RevisionState.BUILT], [], REVISIONS_KEPT)
    revisions = tx.revisions.of_each([job.uid for job in jobs])
    return [job.uid for job in jobs if _unsettled(job, revisions[job.uid])]


def _unsettled(job: Resource, revisions: list[Revision]) -> bool:
    waits = any(known.state is RevisionState.BUILT for known in revisions)
    surplus = surplus_revisions([place_of(known) for known in revisions])
    return job.deleting or waits or bool(surplus) or _seen(job, revisions) != job


def roll_out_job(uid: str, now: datetime, tx: Transaction) -> bool:
    """One step for the job, in one commit; whether it is gone. Does nothing when there is nothing to do."""
    job = tx.resources.by_uid(uid)
    if job is None:
        return True
    if job.deleting:
        return _delete(tx, job, now)
    revisions = tx.revisions.of(uid)
    built = next((known for known in revisions if known.state is RevisionState.BUILT), None)
    newest_serving = max((r.generation for r in revisions if r.state is RevisionState.SERVING), default=-1)
    if built is not None:
        _serve(tx, job, built, revisions, now, newest_serving)
        revisions = tx.revisions.of(uid)
    used = {execution.revision_id for execution in tx.executions.unfinished()}
    for revision_id in surplus_revisions([place_of(known) for known in revisions], used):
        tx.revisions.delete(revision_id)
    if (seen := _seen(job, revisions)) != job:
        tx.resources.replace(seen, job.generation)
    return False


def place_of(revision: Revision) -> RevisionView:
    """What the decisions about the order of revisions look at: no settings, which only replicas need."""
    return RevisionView(id=revision.id, generation=revision.generation, state=revision.state)


def _serve(
    tx: Transaction, job: Resource, built: Revision, revisions: list[Revision], now: datetime, newest_serving: int
) -> None:
    """The newest built revision takes over, unless a newer one has done so."""
    late = built.generation < newest_serving
    state = RevisionState.SUPERSEDED if late else RevisionState.SERVING
    message = PASSED_OVER if late else built.message
    tx.revisions.replace_if_state(replace(built, state=state, message=message, updated_at=now), RevisionState.BUILT)
    if late:
        return
    for old in revisions:
        if old.state is RevisionState.SERVING:
            superseded = replace(old, state=RevisionState.SUPERSEDED, updated_at=now)
            tx.revisions.replace_if_state(superseded, RevisionState.SERVING)
    tx.events.add(
        Event(
            resource_uid=job.uid,
            time=now,
            type="deployment",
            status=WorkloadStatus.DEPLOYED,
            message=f"Revision {built.id} is what executions run now",
            reason="Serving",
            revision=built.id,
        )
    )


def _seen(job: Resource, revisions: list[Revision]) -> Resource:
    """The job with the status that its revisions say."""
    if not revisions:
        return job
    status = _STATUS.get(revisions[0].state, WorkloadStatus.DEPLOYING)
    if revisions[0].state is RevisionState.HELD:
        states = {revision.state for revision in revisions}
        if RevisionState.BUILT not in states:
            status = WorkloadStatus.DEPLOYED if RevisionState.SERVING in states else WorkloadStatus.BUILT
    if status is WorkloadStatus.DEPLOYED and job.spec.get("enabled") is False:
        status = WorkloadStatus.DEACTIVATED
    return with_status(job, status)


def _delete(tx: Transaction, job: Resource, now: datetime) -> bool:
    """Cancel what runs; go when it has ended. Whether it has gone."""
    open_ = [execution for execution in tx.executions.unfinished() if execution.job_uid == job.uid]
    for execution in open_:
        if execution.cancel_requested_at is None:
            tx.executions.set_status(execution.id, ExecutionStatus.CANCELLING, now)
            tx.executions.cancel_pending_tasks(execution.id, now)
    if not open_:
        remove_workload(tx, job.uid, now)
    return not open_
