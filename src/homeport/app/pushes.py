"""Images that are built without a workload: `bl push`. An image is pushed as a revision of its own, which goes once its
tag is there; so its archive, its build and its log go the way of every other."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from homeport.app.context import Context
from homeport.app.deployments import upload_token
from homeport.app.governance import Form, judge
from homeport.app.orders import STATUS_OF_STATE
from homeport.app.sealing import seal_intent
from homeport.core.errors import Invalid
from homeport.core.ids import Kind, RevisionId, new_id
from homeport.core.images import read_image
from homeport.core.logins import read_docker_config
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.placement.plan import Plan
from homeport.reconcile.images import new_image
from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource, Revision
from homeport.workloads.states import RevisionState


@dataclass(frozen=True, slots=True, kw_only=True)
class PushIntent:
    """`image`: of a registry; None for an archive that is to come. `docker_config` as in specifications."""

    kind: Kind
    name: str
    image: str | None
    docker_config: str | None

    @property
    def spec(self) -> dict[str, Any]:
        """As a workload's would say it."""
        runtime = {"image": self.image, "dockerConfig": self.docker_config}
        return {"runtime": {key: value for key, value in runtime.items() if value}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """`upload_token` is set when an archive is awaited."""

    resource: Resource
    upload_token: str | None


async def push_image(context: Context, principal: Principal, intent: PushIntent, *, upload: bool) -> Push:
    """Begin to build an image. One that was under way for the same name is given up.

    Raises `Invalid` for a bad image or a missing source, `Denied`, `DiskFull`."""
    require(principal, "images:create")
    context.space.require()
    now = context.clock.now()
    image = read_image(intent.spec)
    if upload == (image is not None):
        rule = "must be absent where an archive is to be uploaded" if upload else "must name an image of a registry"
        hint = "" if upload else "To build an archive, ask with upload=true."
        raise Invalid("image", rule, value=intent.image, hint=hint)
    read_docker_config(intent.spec)

    def write(tx: Transaction) -> Push:
        plan = judge(context, tx, principal.workspace, intent.kind, intent.spec, Form.OPEN).plan()
        state = RevisionState.UPLOADING if upload else RevisionState.BUILDING
        revision = _revision(principal, intent, plan, state, now)
        stored = _begun(tx, revision, now)
        sealed = seal_intent(context, replace(stored, spec=intent.spec))
        revision = replace(revision, resource_uid=stored.uid, generation=stored.generation, spec=sealed.spec)
        tx.revisions.insert(revision)
        text = "An archive is awaited" if upload else f"Taking {intent.image} in region {plan.region}"
        event = Event(
            resource_uid=stored.uid,
            time=now,
            type="build",
            status=STATUS_OF_STATE[state],
            message=text,
            reason="Accepted",
            revision=revision.id,
        )
        tx.events.add(event)
        return Push(resource=stored, upload_token=upload_token(context, revision) if upload else None)

    push = await context.store.write(write)
    context.signals.builds.wake()
    return push


def _begun(tx: Transaction, revision: Revision, now: datetime) -> Resource:
    """The image, its status that of the push: one that was built before must not look so to whoever waits."""
    repository, status = f"{revision.kind}/{revision.name}", STATUS_OF_STATE[revision.state]
    stored = tx.resources.get(revision.workspace, Kind.IMAGE, repository)
    if stored is None:
        made = new_image(revision, repository, status, now)
        tx.resources.insert(made)
        return made
    for earlier in tx.revisions.of(stored.uid):
        tx.revisions.delete(earlier.id)
    begun = replace(
        stored, status=status, generation=stored.generation + 1, updated_at=now, updated_by=revision.created_by
    )
    tx.resources.replace(begun, stored.generation)
    return begun


def _revision(principal: Principal, intent: PushIntent, plan: Plan, state: RevisionState, now: datetime) -> Revision:
    return Revision(
        id=RevisionId(new_id("rev")),
        resource_uid="",  # the image's, once it is there
        workspace=principal.workspace,
        kind=intent.kind,
        name=intent.name,
        generation=1,
        state=state,
        spec={},
        region=plan.region,
        flavor=str(plan.flavor),
        source_digest=None,
        bundle_digest=None,
        entrypoint=(),
        message="",
        created_at=now,
        created_by=principal.sub,
        updated_at=now,
    )
