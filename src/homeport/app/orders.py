"""What an update is besides a new specification: whether it needs a revision, what it asks of those there are, and what
is told of it. Called by `deployments`, inside its write."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from homeport.app.context import Context
from homeport.app.governance import form_of, judge
from homeport.app.sealing import plain_spec
from homeport.core.errors import Denied
from homeport.core.fields import Ignored
from homeport.core.ids import RevisionId
from homeport.reconcile.observation import place_of
from homeport.reconcile.turns import share_of
from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource, Revision
from homeport.workloads.changes import revision_needed
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.steering import newest_of, startable
from homeport.workloads.views import RevisionView

STATUS_OF_STATE = {
    RevisionState.UPLOADING: WorkloadStatus.UPLOADING,
    RevisionState.BUILDING: WorkloadStatus.BUILDING,
    RevisionState.BUILT: WorkloadStatus.DEPLOYING,
    RevisionState.HELD: WorkloadStatus.DEPLOYING,  # until the rollouts have looked what serves beside it
}
_AWAITED = (RevisionState.UPLOADING, RevisionState.BUILDING)
_AT_REST = (WorkloadStatus.DEPLOYED, WorkloadStatus.DEACTIVATED)


def why_new(
    context: Context, stored: Resource, resource: Resource, views: Sequence[RevisionView], *, upload: bool
) -> str:
    """Why the update from `stored` makes a revision; empty if it makes none."""
    before, after = ((one.display_name, one.labels, one.external_id, one.deleting) for one in (stored, resource))
    newest = newest_of(views)
    return revision_needed(
        plain_spec(context, stored),
        plain_spec(context, resource),
        upload=upload,
        relabelled=before != after,
        newest_is_active=newest is None or newest.id == stored.traffic.wanted.active,
    )


def refuse_revisions(
    context: Context, tx: Transaction, stored: Resource, resource: Resource, revisions: Sequence[Revision]
) -> None:
    """Raises `Denied` where a policy does not let a kept revision run where it was placed, that is to serve and does
    not now: by the policies that it was made with, as they hold now, and by those of this order. Nothing goes around a
    policy by going back."""
    coming = {*resource.traffic.wanted.revisions} - {*stored.traffic.served.revisions}
    for revision in (one for one in revisions if one.id in coming):
        form = form_of(revision.spec, revision)
        for spec in (revision.spec, resource.spec):
            asked = {"region": revision.region, "policies": spec.get("policies") or []}
            verdict = judge(context, tx, revision.workspace, revision.kind, asked, form)
            verdict.plan()
            flavors = {
                str(one)
                for region, found in verdict.decision.allowed
                if region.name == revision.region
                for one in found
            }
            if revision.flavor not in flavors:
                rule = f"policies allow {', '.join(sorted(flavors))} in region {revision.region} now"
                raise Denied(f"Revision {revision.id} runs on {revision.flavor}, and {rule}.")


def status_after(
    stored: Resource, resource: Resource, revisions: Sequence[Revision], new: Revision | None
) -> WorkloadStatus | None:
    """The status of `resource` until the rollouts have looked."""
    if new is not None:
        return STATUS_OF_STATE[new.state]
    for one in revisions:
        if one.id in resource.traffic.wanted.revisions and one.state in _AWAITED:
            return STATUS_OF_STATE[one.state]
    unchanged = stored.status in _AT_REST and stored.spec.get("enabled") == resource.spec.get("enabled")
    return stored.status if unchanged and not resource.traffic.under_way else WorkloadStatus.DEPLOYING


def redirect(tx: Transaction, resource: Resource, revisions: Sequence[Revision]) -> None:
    """Let kept revisions that are wanted start."""
    to_start = {one.id for one in startable(resource.traffic, [place_of(known) for known in revisions])}
    for known in revisions:
        if known.id in to_start:
            built = replace(known, state=RevisionState.BUILT, message="", updated_at=resource.updated_at)
            tx.revisions.replace_if_state(built, known.state)


def end_builds(tx: Transaction, stored: Resource, resource: Resource, revisions: Sequence[Revision]) -> None:
    """Let what was to serve, is being built, and is given up by this order not be built."""
    given_up = {*stored.traffic.wanted.revisions} - {*resource.traffic.wanted.revisions}
    for known in revisions:
        if known.id in given_up and known.state in _AWAITED:
            message = "it was given up before it was built"
            ended = replace(known, state=RevisionState.SUPERSEDED, message=message, updated_at=resource.updated_at)
            tx.revisions.replace_if_state(ended, known.state)


def record_order(tx: Transaction, stored: Resource, resource: Resource) -> None:
    """What an order without a new revision changes, in an event."""
    wanted, now = resource.traffic.wanted, resource.updated_at
    active, canary = wanted.active, wanted.canary
    if wanted == stored.traffic.wanted and not resource.traffic.under_way:
        message, reason = "Changed, without a new revision: nothing of it changes what runs", "Updated"
    elif canary:
        share = share_of(resource, wanted.percent)
        message, reason = f"Revision {canary} is to get {share}, revision {active} the others", "TrafficAsked"
    else:
        message, reason = f"Revision {active} is to serve alone", "TrafficAsked"
    tx.events.add(replace(event(resource, now, message, reason, active or ""), canary_revision=canary or ""))


def told_before(stored: Resource, resource: Resource, ignored: Sequence[Ignored]) -> list[Ignored]:
    """Those that concern a member of `spec.revision` that only came back as it was read."""
    before, after = (one.spec.get("revision") or {} for one in (stored, resource))
    return [one for one in ignored if before.get(key := one.field.rpartition(".")[2]) == after.get(key)]


def event(resource: Resource, now: datetime, message: str, reason: str, revision: RevisionId | str = "") -> Event:
    return Event(
        resource_uid=resource.uid,
        time=now,
        type="deployment",
        status=resource.status or WorkloadStatus.DEPLOYING,
        message=message,
        reason=reason,
        revision=revision,
    )
