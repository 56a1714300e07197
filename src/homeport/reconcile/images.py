"""What was built, kept by name: an image for each workload, a tag for each bundle, `latest` for the newest. Called by
the loop of builds as it records a build, and by the garbage loop: the one place in which images come to be and go."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from homeport.build.bundle import Bundle
from homeport.build.images import ImageBuilder
from homeport.core.errors import Invalid
from homeport.core.ids import Kind, new_id
from homeport.core.images import LATEST, ImageReference, OwnImage, read_image, read_own_image, tag_of
from homeport.store.contract import Store, Transaction
from homeport.store.records import BroughtImage, ImageTag, Resource, Revision
from homeport.workloads.states import RevisionState, WorkloadStatus

PULLING = "pulling:"  # begins the digest of what is being pulled, which is not known yet
PUSHING = (WorkloadStatus.UPLOADING, WorkloadStatus.BUILDING)


def register(tx: Transaction, revision: Revision, bundle: Bundle, now: datetime) -> OwnImage:
    """Keep `bundle`, which was built or resolved for `revision`, under the revision's kind and name, and tell its
    workload. To be called in the transaction that records the build; harmless where it is kept already."""
    built_as = OwnImage(kind=revision.kind, name=revision.name, tag=tag_of(bundle.digest))
    owner = tx.resources.by_uid(revision.resource_uid)
    pushed = owner is not None and owner.kind is Kind.IMAGE
    image = owner if owner is not None and pushed else _image_of(tx, revision, built_as.repository, now)
    known = {tag.name: tag for tag in tx.images.of(image.uid)}
    for name in (built_as.tag, LATEST):
        before = known.get(name)
        tag = ImageTag(
            resource_uid=image.uid,
            name=name,
            digest=bundle.digest,
            region=revision.region if bundle.image else "",
            source=bundle.image_source,
            entrypoint=bundle.entrypoint,
            size=bundle.size,
            created_at=before.created_at if before else now,
            updated_at=now,
            deployed_at=now if not pushed else before.deployed_at if before else None,
        )
        tx.images.put(tag)
    if bundle.brought is not None:
        tx.images.forget_brought(revision.region, PULLING + bundle.brought)
        tx.images.bring(
            BroughtImage(region=revision.region, digest=bundle.digest, reference=bundle.brought, created_at=now)
        )
    if owner is not None and not pushed and read_image(revision.spec) is None:
        tx.resources.replace(replace(owner, image=str(built_as)), owner.generation)
    return built_as


async def begin_pull(store: Store, images: ImageBuilder, revision: Revision, image: ImageReference) -> bool:
    """Write down, before an image is pulled, that the engine will have it because of us: a server that is killed
    meanwhile leaves nothing that nobody knows. Returns whether it will, or does because of a server that did not come
    to record it. Raises `DriverUnavailable`."""
    begun = BroughtImage(
        region=revision.region, digest=PULLING + image.text, reference=image.text, created_at=revision.created_at
    )
    if await images.lacks(revision.region, image):
        await store.write(lambda tx: tx.images.bring(begun))
        return True
    brought = await store.read(lambda tx: tx.images.brought())
    return any((one.region, one.digest) == (begun.region, begun.digest) for one in brought)


def note_deployed(tx: Transaction, tag: ImageTag, now: datetime) -> None:
    """That a workload was deployed with what the tag names."""
    for one in tx.images.of(tag.resource_uid):
        if one.digest == tag.digest:
            tx.images.put(replace(one, deployed_at=now))


def new_image(revision: Revision, repository: str, status: WorkloadStatus, now: datetime) -> Resource:
    """An image without tags yet, of the workspace of `revision`."""
    return Resource(
        uid=new_id(Kind.IMAGE, 16),
        workspace=revision.workspace,
        kind=Kind.IMAGE,
        name=repository,
        display_name=None,
        external_id=None,
        labels={},
        spec={},
        generation=1,
        observed_generation=1,
        status=status,
        created_at=now,
        created_by=revision.created_by,
        updated_at=now,
        updated_by=revision.created_by,
    )


def end_push(tx: Transaction, revision: Revision) -> bool:
    """Whether `revision`, which is built or has failed, was made for its image alone, and for no workload. It goes
    then: the tag is what keeps its bundle, and the image says how it went."""
    image = tx.resources.by_uid(revision.resource_uid)
    if image is None or image.kind is not Kind.IMAGE:
        return False
    if image.generation == revision.generation:
        failed = revision.state is RevisionState.FAILED
        status = WorkloadStatus.FAILED if failed else WorkloadStatus.BUILT
        tx.resources.replace(replace(image, status=status), image.generation)
    tx.revisions.delete(revision.id)
    return True


def _image_of(tx: Transaction, revision: Revision, repository: str, now: datetime) -> Resource:
    stored = tx.resources.get(revision.workspace, Kind.IMAGE, repository)
    if stored is None:
        made = new_image(revision, repository, WorkloadStatus.BUILT, now)
        tx.resources.insert(made)
        return made
    status = stored.status if stored.status in PUSHING else WorkloadStatus.BUILT
    told = replace(stored, status=status, updated_at=now, updated_by=revision.created_by)
    tx.resources.replace(told, stored.generation)
    return told


def users_of(tx: Transaction, image: Resource, digests: Collection[str]) -> list[Revision]:
    """The kept revisions that run one of `digests` as this image: those of the workload of its name, and those that
    name it."""
    found = tx.revisions.built_as(image.workspace, digests)
    return [
        one
        for one in found
        if image.name == f"{one.kind}/{one.name}"
        or ((own := named_image(one.spec)) is not None and own.repository == image.name)
    ]


def named_image(spec: Mapping[str, Any]) -> OwnImage | None:
    """The image of the platform's own that a stored specification names."""
    try:
        return read_own_image(spec)
    except Invalid:  # of an earlier version, which took it for something else
        return None


def going(
    tags: Sequence[ImageTag], used: Collection[str], now: datetime, *, keep_days: int, keep_tags: int
) -> list[ImageTag]:
    """Which tags of one image shall go: of those that hold what no kept revision runs, the ones that were last built
    or deployed more than `keep_days` days ago, and all but the newest `keep_tags`. `latest` is none of them."""
    unused = [tag for tag in tags if tag.name != LATEST and tag.digest not in used]
    unused.sort(key=_touched, reverse=True)
    oldest = now - timedelta(days=keep_days)
    return [tag for place, tag in enumerate(unused) if place >= keep_tags or _touched(tag) < oldest]


def remove_tags(tx: Transaction, image: Resource, names: Collection[str]) -> None:
    """Remove these. `latest` goes on as the newest of what is left where what it named has gone; an image that nothing
    is left of goes as well, unless something is being pushed."""
    for name in names:
        tx.images.remove(image.uid, name)
    left = tx.images.of(image.uid)
    kept = [tag for tag in left if tag.name != LATEST]
    latest = next((tag for tag in left if tag.name == LATEST), None)
    if latest is not None and LATEST not in names and latest.digest not in {tag.digest for tag in kept}:
        if kept:
            newest = max(kept, key=lambda tag: tag.updated_at)
            tx.images.put(replace(newest, name=LATEST, created_at=latest.created_at))
        else:
            tx.images.remove(image.uid, LATEST)
    if not kept and image.status not in PUSHING:
        tx.resources.delete(image.uid)


def _touched(tag: ImageTag) -> datetime:
    return max(tag.updated_at, tag.deployed_at or tag.updated_at)
