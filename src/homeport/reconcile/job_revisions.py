"""The rollout of a job: it has no replicas, so what is wanted is served once it is built, and a deleted job goes when
nothing of it runs."""

from dataclasses import replace
from datetime import datetime

from homeport.core.ids import Kind
from homeport.core.limits import REVISIONS_KEPT
from homeport.jobs.states import ExecutionStatus
from homeport.reconcile.observation import place_of, view_resource, with_status
from homeport.reconcile.replicas import remove_workload
from homeport.reconcile.turns import event_of, give_up, serve
from homeport.store.contract import Transaction
from homeport.store.records import Resource, Revision
from homeport.workloads.rollout import NOT_BUILT, PASSED_OVER, rollout_status, surplus_revisions
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.steering import unavailable
from homeport.workloads.traffic import Split


def unsettled_jobs(tx: Transaction) -> list[str]:
    """The uids of jobs for which `roll_out_job` may have something to do: so that those at rest, ordinarily all of
    them, cost a read."""
    jobs = tx.resources.unsettled(Kind.JOB, [RevisionState.BUILT], [], REVISIONS_KEPT)
    revisions = tx.revisions.of_each([job.uid for job in jobs])
    return [job.uid for job in jobs if _unsettled(job, revisions[job.uid])]


def _unsettled(job: Resource, revisions: list[Revision]) -> bool:
    waits = any(known.state is RevisionState.BUILT for known in revisions)
    views = [place_of(known) for known in revisions]
    surplus = surplus_revisions(views, (), job.traffic)
    turn = waits or _ready(job, revisions) or bool(unavailable(job.traffic, views))
    return job.deleting or turn or bool(surplus) or _seen(job, revisions) != job


def roll_out_job(uid: str, now: datetime, tx: Transaction) -> bool:
    """One step for the job, in one commit; whether it is gone. Does nothing when there is nothing to do."""
    job = tx.resources.by_uid(uid)
    if job is None:
        return True
    if job.deleting:
        return _delete(tx, job, now)
    for lost in unavailable(job.traffic, [place_of(known) for known in tx.revisions.of(uid)]):
        give_up(tx, uid, lost, now, NOT_BUILT)
    _turn(tx, uid, now)
    job, revisions = tx.resources.by_uid(uid) or job, tx.revisions.of(uid)
    used = {execution.revision_id for execution in tx.executions.unfinished()}
    for revision_id in surplus_revisions([place_of(known) for known in revisions], used, job.traffic):
        tx.revisions.delete(revision_id)
    if (seen := _seen(job, revisions)) != job:
        tx.resources.replace(seen, job.generation)
    return False


def _ready(job: Resource, revisions: list[Revision]) -> bool:
    """Whether what is wanted, and not served yet, is built."""
    states = {known.id: known.state for known in revisions}
    built = (RevisionState.BUILT, RevisionState.SERVING)
    return job.traffic.under_way and all(states.get(one) in built for one in job.traffic.required)


def _turn(tx: Transaction, uid: str, now: datetime) -> None:
    """Let executions run what is wanted, once it is built, and pass over what nobody wants any more."""
    job, revisions = tx.resources.by_uid(uid), tx.revisions.of(uid)
    if job is None:
        return
    traffic = job.traffic
    if _ready(job, revisions):
        superseded = [one for one in traffic.served.revisions if one not in traffic.wanted.revisions]
        serve(tx, uid, traffic.wanted, superseded, now, "")
    for known in revisions:
        if known.state is RevisionState.BUILT and known.id not in traffic.wanted.revisions:
            passed = replace(known, state=RevisionState.SUPERSEDED, message=PASSED_OVER, updated_at=now)
            if tx.revisions.replace_if_state(passed, RevisionState.BUILT):
                text = f"Revision {known.id}: {PASSED_OVER}"
                tx.events.add(event_of(job, now, text, "Superseded", Split(active=known.id)))


def _seen(job: Resource, revisions: list[Revision]) -> Resource:
    """The job with the status that its revisions say."""
    if not revisions:
        return job
    status = rollout_status(view_resource(job), [place_of(known) for known in revisions])
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
