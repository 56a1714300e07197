"""Which source a new revision is made from: an archive that is awaited, a repository, or what the newest one was made
from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from homeport.app.context import Context
from homeport.app.governance import Form
from homeport.app.own_images import named_tag
from homeport.build.credentials import check_host, open_secret
from homeport.build.repository import FIELD, Repository, read_repository
from homeport.configuration import LOCAL
from homeport.core.errors import Invalid
from homeport.core.images import FIELD as FIELD_OF_IMAGE
from homeport.core.images import names_image, read_image
from homeport.reconcile.images import note_deployed
from homeport.store.contract import Transaction
from homeport.store.records import ImageTag, Resource, Revision
from homeport.workloads.states import RevisionState

SOURCES = (
    "Upload a folder: `homeport deploy -d FOLDER`, or the API's upload=true; name a git repository in "
    "spec.repository.url; or name an image in spec.runtime.image, where a region has an engine."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a revision begins. In state BUILDING without a digest, its repository is fetched first. region: of
    what was made from a Dockerfile, whose engine has the bundle's image."""

    state: RevisionState
    source_digest: str | None = None
    source_commit: str | None = None
    source_logins: str | None = field(default=None, repr=False)
    bundle_digest: str | None = None
    entrypoint: tuple[str, ...] = ()
    region: str | None = None

    def form(self, spec: Mapping[str, Any]) -> Form:
        """What the revision will be run as, as far as that can be known before its source is here."""
        if names_image(spec) or self.region is not None:
            return Form.IMAGE
        return Form.OPEN if self.source_digest is None and self.bundle_digest is None else Form.PROGRAM

    def placed(self, region: str) -> "Source":
        """The same for a revision in `region`: an image that another region's engine has is built there."""
        if self.region is None or self.region == region:
            return self
        return replace(self, state=RevisionState.BUILDING, bundle_digest=None, entrypoint=())


def source_of_new(context: Context, tx: Transaction, resource: Resource, *, upload: bool) -> Source:
    """An upload wins over a repository. An image that was built here is not built again. Raises `Invalid` where there
    is no source or one too many, and for a repository that cannot be fetched."""
    repository = _repository(context, tx, resource)
    tag = named_tag(tx, resource.workspace, resource.kind, resource.spec)
    if tag is not None and not upload:  # a repository says where it once came from
        note_deployed(tx, tag, resource.updated_at)
        return _of_tag(tag)
    image = read_image(resource.spec)
    if names_image(resource.spec) and (upload or repository is not None):
        rule = "must be absent where the program comes from an upload or a repository"
        raise Invalid(FIELD_OF_IMAGE, rule, value=resource.spec["runtime"]["image"])
    if image is not None:
        return Source(state=RevisionState.BUILDING)
    if upload:
        return Source(state=RevisionState.UPLOADING)
    if repository is not None:
        return Source(state=RevisionState.BUILDING)
    raise Invalid("spec", "names no source to run", hint=SOURCES)


def source_of_update(
    context: Context, tx: Transaction, resource: Resource, before: Mapping[str, Any], *, upload: bool
) -> Source:
    """An image of a registry is resolved again. An update without an upload fetches its repository again, so that it
    takes the newest commit; it runs the newest source again where there is no repository, where that is a fixed commit,
    and where the repository only came along with what was read (`before` is the stored specification) while the program
    is an upload."""
    revisions = tx.revisions.of(resource.uid)
    sources = (one for one in revisions if not names_image(one.spec))
    known = next((one for one in sources if one.bundle_digest or one.source_digest), None)
    repository = _repository(context, tx, resource)
    if known is None and resource.image and not (upload or repository or names_image(resource.spec)):
        return _kept(tx, resource, resource.image)
    if upload or known is None or names_image(resource.spec):
        return source_of_new(context, tx, resource, upload=upload)
    if repository is not None:
        same = before.get("repository") == resource.spec.get("repository")
        is_upload = known.source_commit is None
        if not (same and (is_upload or known.source_commit == repository.ref)):
            return Source(state=RevisionState.BUILDING)
    return _again(known)


def _kept(tx: Transaction, resource: Resource, image: str) -> Source:
    """What the newest build is kept as, where images have been named so often since that no revision is left of it."""
    tag = named_tag(tx, resource.workspace, resource.kind, {"runtime": {"image": image}})
    if tag is None or tag.region:  # that of an engine has to be named, so that it is placed there
        raise Invalid("spec", "names no source to run", hint=SOURCES)
    return _of_tag(tag)


def _of_tag(tag: ImageTag) -> Source:
    """What was built before, as it is."""
    return Source(state=RevisionState.BUILT, bundle_digest=tag.digest, entrypoint=tag.entrypoint)


def _again(revision: Revision) -> Source:
    """What `revision` was made from, built or not."""
    return Source(
        state=RevisionState.BUILT if revision.bundle_digest else RevisionState.BUILDING,
        source_digest=revision.source_digest,
        source_commit=revision.source_commit,
        source_logins=revision.source_logins,
        bundle_digest=revision.bundle_digest,
        entrypoint=revision.entrypoint,
        region=None if revision.region == LOCAL else revision.region,
    )


def _repository(context: Context, tx: Transaction, resource: Resource) -> Repository | None:
    found = read_repository(resource.spec, context.configuration.sources)
    if found is not None and found.secret is not None:
        at = f"{FIELD}.secret"
        credential = open_secret(tx, context.sealing, resource.workspace, found.secret, at)
        check_host(credential, found.secret, found.host, at)
    return found
