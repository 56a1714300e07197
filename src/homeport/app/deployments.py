"""Deploy, update and delete workloads. The commit that stores the new revision is the point of no return: before
it nothing has happened, after it the loops carry on by themselves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from homeport.app.addresses import addressed, claim_paths, host_warning
from homeport.app.attachments import attach_volumes
from homeport.app.callback_secrets import check_callback_addresses, fresh_secrets, with_callback_secrets
from homeport.app.context import Context, Intent
from homeport.app.fields import ignored_fields
from homeport.app.governance import OTHER_SOURCES, Form, judge
from homeport.app.orders import (
    STATUS_OF_STATE,
    end_builds,
    event,
    record_order,
    redirect,
    refuse_revisions,
    status_after,
    told_before,
    why_new,
)
from homeport.app.own_images import without_echo
from homeport.app.places import missing_engines, no_way_back
from homeport.app.resources import fetch, new_resource, updated
from homeport.app.schedules import keep_schedules
from homeport.app.sealing import seal_intent
from homeport.app.sources import Source, source_of_new, source_of_update
from homeport.configuration import LOCAL
from homeport.core.errors import Conflict, DriverUnavailable, Invalid
from homeport.core.fields import MASK, Ignored
from homeport.core.ids import Kind, RevisionId, new_id
from homeport.core.images import FIELD, names_image, read_image
from homeport.core.logins import read_docker_config
from homeport.identity.keys import UPLOAD_AUDIENCE, Claims
from homeport.identity.principals import Principal, Role
from homeport.identity.roles import require
from homeport.invocations.settings import check_triggers
from homeport.jobs.expiry import read_expiry, refuse_past
from homeport.jobs.settings import JobSettings
from homeport.placement.plan import Plan
from homeport.reconcile.deletion import begin_deletion
from homeport.reconcile.observation import place_of
from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource, Revision, ServiceAccount
from homeport.workloads.settings import ServingSettings
from homeport.workloads.states import RevisionState
from homeport.workloads.steering import Steer, first_steer, next_steer, with_share
from homeport.workloads.traffic import Traffic

UPLOAD_LIFETIME_S = 3600  # room for a slow line; the sweep of abandoned uploads waits longer than this


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An accepted deployment. `upload_token` is set when an archive is awaited; `ignored` is what of the order has no
    effect; `fresh` are secrets of callbacks that were made for it, by trigger, to be shown this once."""

    resource: Resource
    events: list[Event]
    upload_token: str | None
    ignored: tuple[Ignored, ...] = ()
    fresh: Mapping[str, str] = field(default_factory=dict)


async def create_workload(
    context: Context, principal: Principal, kind: Kind, intent: Intent, *, upload: bool
) -> Deployment:
    """Store a new workload with its first revision.

    Raises `Invalid` for a bad specification or a missing source, `Denied` when a policy refuses, `Conflict` for a
    name that exists, `DiskFull`. `upload` asks for a slot for the archive.
    """
    require(principal, f"{kind.plural}:create")
    context.space.require()
    now = context.clock.now()
    _check(kind, intent.spec, now)
    check_callback_addresses(context, intent.spec)
    intent = addressed(kind, intent)
    missing = await missing_engines(context)
    intent = replace(intent, spec=without_echo(intent.spec, kind, intent.name, built=None, upload=upload))

    def write(tx: Transaction) -> Deployment:
        new = RevisionId(new_id("rev"))
        steer = first_steer(intent.spec, new)
        given = replace(intent, spec=with_callback_secrets(intent.spec, {})) if kind is Kind.AGENT else intent
        resource = seal_intent(context, new_resource(principal, kind, given, now))
        claim_paths(tx, resource)
        find = partial(source_of_new, context, tx, resource, upload=upload)
        revision = _placed(context, tx, resource, find, new, steer)
        _refuse_missing(revision, missing)
        traffic = Traffic().asked(steer.wanted)
        resource = replace(resource, status=STATUS_OF_STATE[revision.state], traffic=traffic)
        tx.resources.insert(resource)
        tx.identities.add_account(_account_of(resource, now))
        if kind is Kind.AGENT:
            keep_schedules(tx, resource, now)
        _record(context, tx, resource, revision, steer, why="")
        attach_volumes(context, tx, resource, revision)
        deployment = _answered(context, tx, resource, revision, (*ignored, *steer.ignored))
        return replace(deployment, fresh=fresh_secrets(context, resource, {}))

    ignored = (*ignored_fields(kind, intent.spec), *await _unlimited_cpu(context, intent.spec))
    return _accepted(context, await context.store.write(write))


async def update_workload(
    context: Context, principal: Principal, kind: Kind, intent: Intent, *, upload: bool
) -> Deployment:
    """Replace an agent's or job's specification. What changes what runs is deployed as a new revision; the old one
    serves until the new one answers. Without `upload` its repository is fetched again, or the newest source is used.

    Raises as `create_workload`, and `NotFound`."""
    require(principal, f"{kind.plural}:update")
    context.space.require()
    now = context.clock.now()
    _check(kind, intent.spec, now)
    check_callback_addresses(context, intent.spec)
    intent = addressed(kind, intent)
    missing = await missing_engines(context)

    def write(tx: Transaction) -> Deployment:
        stored = fetch(tx, principal.workspace, kind, intent.name)
        return apply_update(context, tx, principal, stored, intent, Update(upload, missing, ignored, now))

    ignored = (*ignored_fields(kind, intent.spec), *await _unlimited_cpu(context, intent.spec))
    return _accepted(context, await context.store.write(write))


@dataclass(frozen=True, slots=True)
class Update:
    """What an update brings besides its order: whether an archive will come, the engines of no use now, and what of the
    order has no effect."""

    upload: bool
    missing: Mapping[str, str]
    ignored: tuple[Ignored, ...]
    now: datetime


def apply_update(
    context: Context, tx: Transaction, principal: Principal, stored: Resource, intent: Intent, update: Update
) -> Deployment:
    """The update in one write: its order stored, with a new revision where one is needed. Raises as
    `update_workload`."""
    if stored.deleting:
        raise Conflict(f"The {stored.kind} {stored.name!r} is being deleted.", hint="Wait until it is gone.")
    upload = update.upload
    named = bool((stored.spec.get("runtime") or {}).get("image"))
    spec = without_echo(intent.spec, stored.kind, stored.name, built=stored.image, upload=upload, named=named)
    wanted = replace(intent, spec=with_callback_secrets(spec, stored.spec) if stored.kind is Kind.AGENT else spec)
    resource = seal_intent(context, updated(stored, principal, wanted, update.now), stored)
    claim_paths(tx, resource)
    revisions = tx.revisions.of(stored.uid)
    views = [place_of(known) for known in revisions]
    why = why_new(context, stored, resource, views, upload=upload)
    new = RevisionId(new_id("rev")) if why else None
    steer = next_steer(intent.spec, stored.spec, stored.traffic, views, new)
    resource = replace(resource, traffic=stored.traffic.asked(steer.wanted))
    revision = None
    if new is not None:
        find = partial(source_of_update, context, tx, resource, stored.spec, upload=upload)
        revision = _placed(context, tx, resource, find, new, steer)
        _refuse_missing(revision, update.missing)
    refuse_revisions(context, tx, stored, resource, revisions)
    resource = replace(resource, status=status_after(stored, resource, revisions, revision))
    if not tx.resources.replace(resource, stored.generation):
        raise Conflict(f"The {stored.kind} {stored.name!r} was changed at the same moment.", hint="Try again.")
    tx.resources.direct(resource.uid, resource.traffic)
    if resource.kind is Kind.AGENT:
        keep_schedules(tx, resource, update.now)
    redirect(tx, resource, revisions)
    if revision is not None:
        _record(context, tx, resource, revision, steer, why)
    else:
        end_builds(tx, stored, resource, revisions)
        record_order(tx, stored, resource)
    attach_volumes(context, tx, resource, revision)
    told = (*ignored_fields(stored.kind, stored.spec), *told_before(stored, resource, steer.ignored))
    deployment = _answered(context, tx, resource, revision, (*update.ignored, *steer.ignored), told)
    return replace(deployment, fresh=fresh_secrets(context, resource, stored.spec))


async def delete_workload(
    context: Context, principal: Principal, kind: Kind, name: str
) -> tuple[Resource, list[Event]]:
    """Ask for a workload to go: it stops answering, its processes end, then the record goes. Repeating it is
    harmless while it is on its way."""
    require(principal, f"{kind.plural}:delete")
    now = context.clock.now()

    def write(tx: Transaction) -> tuple[Resource, list[Event]]:
        stored = fetch(tx, principal.workspace, kind, name)
        if stored.deleting:
            return stored, tx.events.of(stored.uid)
        message, reason = "Deletion requested", "DeleteRequested"
        going = begin_deletion(tx, stored, now, by=principal.sub, message=message, reason=reason)
        return going, tx.events.of(going.uid)

    answer = await context.store.write(write)
    context.signals.rollouts.wake(answer[0].uid)
    context.signals.runner.wake()
    return answer


def _check(kind: Kind, spec: dict[str, Any], now: datetime) -> None:
    """Refuse what could never run, before anything is stored."""
    if kind.serves:
        ServingSettings.from_spec(spec)
        if kind is Kind.AGENT:
            check_triggers(spec)
    else:
        JobSettings.from_spec(spec)
        refuse_past(spec, now)
    if (spec.get("runtime") or {}).get("dockerConfig") != MASK:  # which stands for the stored one
        read_docker_config(spec)


def _refuse_missing(revision: Revision, missing: Mapping[str, str]) -> None:
    """Raises `Invalid` where it was placed in a region whose engine is of no use now."""
    if (why := missing.get(revision.region)) is not None:
        image = read_image(revision.spec)
        rule = f"needs the engine of the region {revision.region!r}, which cannot be used: {why.removesuffix('.')}"
        hint = f"Start it, or change [regions.{revision.region}] in config.toml. {OTHER_SOURCES}"
        value = image.text if image else revision.region
        raise Invalid(FIELD if image else "spec.region", rule, value=value, hint=hint)


def _placed(
    context: Context,
    tx: Transaction,
    resource: Resource,
    find_source: Callable[[], Source],
    new: RevisionId,
    steer: Steer,
) -> Revision:
    """The new revision, where policy and placement let it run. Raises as `judge` and as `find_source`, and `Denied`,
    which is said before that there is no source."""

    def plan_of(form: Form) -> Plan:
        return judge(context, tx, resource.workspace, resource.kind, resource.spec, form).plan()

    try:
        source = find_source()
    except Invalid:
        plan_of(Form.OPEN if read_image(resource.spec) is None else Form.IMAGE)
        raise
    plan = plan_of(source.form(resource.spec))
    return _revision(resource, plan, source.placed(plan.region), new, steer)


def _revision(resource: Resource, plan: Plan, source: Source, new: RevisionId, steer: Steer) -> Revision:
    kept = bool(steer.held) and source.state is RevisionState.BUILT
    return Revision(
        id=new,
        resource_uid=resource.uid,
        workspace=resource.workspace,
        kind=resource.kind,
        name=resource.name,
        generation=resource.generation,
        state=RevisionState.HELD if kept else source.state,
        spec=with_share(resource.spec, steer),
        region=plan.region,
        flavor=str(plan.flavor),
        source_digest=source.source_digest,
        source_commit=source.source_commit,
        source_logins=source.source_logins,
        bundle_digest=source.bundle_digest,
        entrypoint=source.entrypoint,
        message="",
        created_at=resource.updated_at,
        created_by=resource.updated_by,
        updated_at=resource.updated_at,
    )


def _account_of(resource: Resource, now: datetime) -> ServiceAccount:
    """The workload's own identity: what its program may do is what this account may do."""
    return ServiceAccount(
        client_id=new_id("wl", 16),
        workspace=resource.workspace,
        name=f"{resource.kind} {resource.name}",
        description="The identity of this workload's program",
        role=Role.WORKLOAD,
        owner_uid=resource.uid,
        created_at=now,
        updated_at=now,
    )


def _record(context: Context, tx: Transaction, resource: Resource, revision: Revision, steer: Steer, why: str) -> None:
    """Store the new revision, and tell of it. `why` it was needed."""
    tx.revisions.insert(revision)
    now = revision.created_at
    because = f" ({why})" if why else ""
    message = f"Revision {revision.id} accepted{because}; placed in region {revision.region} on {revision.flavor}"
    if _is_open(context, revision):
        message += ", unless its source has a Dockerfile"
    canary = resource.traffic.wanted.canary or ""
    tx.events.add(replace(event(resource, now, message, "Accepted", revision.id), canary_revision=canary))
    if steer.held:
        message = f"Revision {revision.id} is built and kept, and does not serve: {steer.held}"
        tx.events.add(event(resource, now, message, "NotServed", revision.id))
    if warning := no_way_back(context, revision.region):
        tx.events.add(event(resource, now, warning, "NoGateway", revision.id))
    if warning := host_warning(tx, resource):
        tx.events.add(event(resource, now, warning, "NoHostName", revision.id))


def _is_open(context: Context, revision: Revision) -> bool:
    """Whether its source may place it elsewhere."""
    to_come = revision.source_digest is None and revision.bundle_digest is None and not names_image(revision.spec)
    return to_come and revision.region == LOCAL and any(region.runs_images for region in context.regions)


async def _unlimited_cpu(context: Context, spec: dict[str, Any]) -> tuple[Ignored, ...]:
    """That a CPU limit does not act, where a machine has no control group for it. A driver that is away is not asked
    again: the status says it, too."""
    if not (spec.get("runtime") or {}).get("cpu"):
        return ()
    for driver in context.drivers.values():
        try:
            facts = await driver.info()
        except DriverUnavailable:
            continue
        if facts.get("cpu_limit") == "none":
            return (Ignored(field="spec.runtime.cpu", why="this machine has no CPU control group for Homeport"),)
    return ()


def _answered(
    context: Context,
    tx: Transaction,
    resource: Resource,
    revision: Revision | None,
    ignored: tuple[Ignored, ...],
    told: Sequence[Ignored] = (),
) -> Deployment:
    """The deployment with what it ignores, one event for each; what was `told` before is not told again, so that
    repeated updates do not push everything else out of the history."""
    concerned = revision.id if revision else resource.traffic.wanted.active or ""
    for one in ignored:
        if one not in told:
            tx.events.add(event(resource, resource.updated_at, str(one), "IgnoredField", concerned))
    awaits = revision is not None and revision.state is RevisionState.UPLOADING
    return Deployment(
        resource=resource,
        events=tx.events.of(resource.uid),
        upload_token=upload_token(context, revision) if revision and awaits else None,
        ignored=ignored,
    )


def upload_token(context: Context, revision: Revision) -> str:
    """The secret part of an upload address: good for this revision's archive only."""
    claims = Claims(
        sub=revision.id,
        jti=new_id("up", 20),
        workspace=revision.workspace,
        scopes=(),
        issued_at=revision.created_at,
        expires_at=revision.created_at + timedelta(seconds=UPLOAD_LIFETIME_S),
    )
    return context.keys.sign(claims, UPLOAD_AUDIENCE)


def _accepted(context: Context, deployment: Deployment) -> Deployment:
    resource = deployment.resource
    if resource.kind is Kind.JOB and read_expiry(resource.spec).due_at(resource.updated_at) is not None:
        context.signals.expiries.wake()
    context.signals.schedules.wake()
    if deployment.upload_token and resource.generation == 1:
        return deployment  # nothing else is to be done before its archive comes
    context.signals.builds.wake()
    context.signals.rollouts.wake(resource.uid)
    return deployment
