"""What a rollout commits: what is wanted begins to be served, or is given up. Of every kind; called by the rollouts of
jobs and of what serves requests, inside their write.

Each reads the workload anew: an order may have come since the decision, and then nothing is done but by the next one.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from homeport.core.ids import Kind, RevisionId
from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource, Revision
from homeport.workloads.rollout import NOT_BUILT
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split


def serve(
    tx: Transaction, uid: str, split: Split, superseded: Iterable[RevisionId], now: datetime, reason: str
) -> bool:
    """Let `split`, which is wanted, be served. False, and nothing done, where something else is wanted now."""
    resource = tx.resources.by_uid(uid)
    if resource is None or resource.traffic.wanted != split:
        return False
    for revision_id in split.revisions:
        _move(tx, revision_id, RevisionState.SERVING, now)
    for revision_id in superseded:
        _move(tx, revision_id, RevisionState.SUPERSEDED, now)
    before, traffic = resource.traffic.served, resource.traffic.switched()
    tx.resources.direct(uid, traffic)
    told = _told(resource, before, split)
    text = f"{told}: {reason}" if reason else told
    tx.events.add(event_of(resource, now, text, "Serving", split))
    return True


def give_up(tx: Transaction, uid: str, revision_id: RevisionId, now: datetime, reason: str) -> None:
    """The order for which the revision was to take a part comes to nothing: what served goes on. It fails, unless it
    serves already."""
    resource, revision = tx.resources.by_uid(uid), tx.revisions.get(revision_id)
    if resource is None or revision_id not in resource.traffic.wanted.revisions:
        return
    traffic = resource.traffic.given_up(revision_id)
    tx.resources.direct(uid, traffic)
    serves = revision_id in traffic.served.revisions
    if revision is not None and not serves and revision.state is not RevisionState.FAILED:
        failed = replace(revision, state=RevisionState.FAILED, message=reason, updated_at=now)
        tx.revisions.replace_if_state(failed, revision.state)
    concerned = Split(active=revision_id, canary=traffic.served.canary)
    goes_on = _goes_on(resource, traffic.served)
    if reason != NOT_BUILT:
        text = f"Revision {revision_id} failed: {reason}. {goes_on}"
        tx.events.add(event_of(resource, now, text, "StartFailed", concerned, WorkloadStatus.FAILED))
    elif traffic.served.active is not None:  # else all is told: its build failed
        why = f": {revision.message.removesuffix('.')}" if revision is not None and revision.message else ""
        text = f"Revision {revision_id} does not serve, {reason}{why}. {goes_on}"
        tx.events.add(event_of(resource, now, text, "GivenUp", concerned))


def event_of(
    resource: Resource,
    now: datetime,
    message: str,
    reason: str,
    concerned: Split,
    status: WorkloadStatus = WorkloadStatus.DEPLOYED,
) -> Event:
    """`concerned`: the revision as its active one, and the canary."""
    return Event(
        resource_uid=resource.uid,
        time=now,
        type="deployment",
        status=status,
        message=message,
        reason=reason,
        revision=concerned.active or "",
        canary_revision=concerned.canary or "",
    )


def share_of(resource: Resource, percent: int) -> str:
    """Such as `10 % of the requests`."""
    return f"{percent} % of the {'executions' if resource.kind is Kind.JOB else 'requests'}"


def _move(tx: Transaction, revision_id: RevisionId, state: RevisionState, now: datetime) -> None:
    revision: Revision | None = tx.revisions.get(revision_id)
    if revision is not None and revision.state is not state:
        moved = replace(revision, state=state, message="", updated_at=now)
        tx.revisions.replace_if_state(moved, revision.state)


def _told(resource: Resource, before: Split, split: Split) -> str:
    if split.canary is not None:
        share = share_of(resource, split.percent)
        return f"Revision {split.canary} gets {share} as the canary, revision {split.active} the others"
    if before.canary is not None and before.active == split.active:
        return f"Revision {split.active} alone serves, without the canary {before.canary}"
    what = "is what executions run now" if resource.kind is Kind.JOB else "serves"
    return f"Revision {split.active} {what}"


def _goes_on(resource: Resource, served: Split) -> str:
    if served.active is None:
        return "Nothing serves."
    canary = f", and {share_of(resource, served.percent)} its canary {served.canary}" if served.canary else ""
    what = "is what executions run" if resource.kind is Kind.JOB else "serves on"
    return f"Revision {served.active} {what}{canary}."
