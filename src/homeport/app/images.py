"""Images of a workspace: listed, shown, deleted. What is in use is never deleted; who uses it is said."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeport.app.context import Context
from homeport.app.resources import every_of
from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import WORKLOADS, Kind
from homeport.core.images import OwnImage
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.reconcile.images import PUSHING, named_image, remove_tags, users_of
from homeport.store.contract import Transaction
from homeport.store.records import Event, ImageTag, Resource

UNKNOWN = "_"  # the public command line's, where it does not know the kind
_KINDS = {spelling: kind for kind in WORKLOADS for spelling in (kind.value, kind.plural)}
_UNSERVED = ("application", "sandbox", "sandboxe", "model")
_SERVED = ", ".join(kind.plural for kind in WORKLOADS)
_USERS_SHOWN = 5
_Naming = Sequence[tuple[Resource, OwnImage]]  # workloads, each with the image that its specification names


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """An image with its tags by name, and what happened to it."""

    resource: Resource
    tags: list[ImageTag]
    events: list[Event]


def kind_of(text: str) -> Kind:
    """The kind that `resourceType` means. Raises `Invalid`, or `NotFound` for a kind that is not served."""
    if (kind := _KINDS.get(text)) is not None:
        return kind
    if text.removesuffix("s") in _UNSERVED:
        raise NotFound(f"Images of {text} are not served by this version.", hint=f"There are those of {_SERVED}.")
    raise Invalid("resourceType", f"must be one of {', '.join(_KINDS)}", value=text)


async def list_images(context: Context, principal: Principal) -> list[ShownImage]:
    """All of the workspace, by name."""
    require(principal, "images:list")

    def read(tx: Transaction) -> list[ShownImage]:
        tags = tx.images.in_workspace(principal.workspace)
        stored = every_of(tx, principal.workspace, Kind.IMAGE)
        return [ShownImage(resource=one, tags=tags.get(one.uid, []), events=[]) for one in stored]

    return await context.store.read(read)


async def get_image(context: Context, principal: Principal, kind: str, name: str) -> ShownImage:
    """Raises `NotFound`."""
    require(principal, "images:get")
    return await context.store.read(lambda tx: _shown(tx, _fetch(tx, principal.workspace, kind, name)))


async def delete_image(context: Context, principal: Principal, kind: str, name: str, tag: str | None) -> ShownImage:
    """Delete an image, or one `tag` of it; returns what there was. Raises `NotFound`, `Invalid` for what is in use."""
    require(principal, "images:delete")

    def write(tx: Transaction) -> ShownImage:
        image = _fetch(tx, principal.workspace, kind, name)
        shown = _shown(tx, image)
        chosen = [one for one in shown.tags if tag is None or one.name == tag]
        if tag is not None and not chosen:
            there = ", ".join(one.name for one in shown.tags) or "none"
            raise NotFound(f"The image {image.name} has no tag {tag!r}.", hint=f"It has {there}.")
        _refuse_in_use(tx, image, chosen, whole=tag is None)
        if tag is None:
            tx.resources.delete(image.uid)
        else:
            remove_tags(tx, image, [tag])
        return shown

    answer = await context.store.write(write)
    context.signals.garbage.wake()
    return answer


async def clean_up(context: Context, principal: Principal) -> list[str]:
    """Delete every image that nothing uses (public contract), with all of its tags; returns which."""
    require(principal, "images:delete")

    def write(tx: Transaction) -> list[str]:
        went: list[str] = []
        naming, tags = _naming(tx, principal.workspace), tx.images.in_workspace(principal.workspace)
        for image in every_of(tx, principal.workspace, Kind.IMAGE):
            if image.status in PUSHING:
                continue
            if not _users(tx, image, tags.get(image.uid, []), naming):
                tx.resources.delete(image.uid)
                went.append(image.name)
        return went

    answer = await context.store.write(write)
    context.signals.garbage.wake()
    return answer


def _refuse_in_use(tx: Transaction, image: Resource, tags: Collection[ImageTag], *, whole: bool) -> None:
    shown = image.name if whole else f"{image.name}:{next(iter(tags)).name}"
    if whole and image.status in PUSHING:
        raise Invalid("image", "is being pushed", value=shown, hint="Wait until it is built.")
    if users := _users(tx, image, tags, _naming(tx, image.workspace)):
        more = f" and {len(users) - _USERS_SHOWN} more" if len(users) > _USERS_SHOWN else ""
        rule = f"is in use by {', '.join(users[:_USERS_SHOWN])}{more}"
        hint = "Delete them first. A workload keeps its newest 5 revisions, and with them their images."
        raise Invalid("image", rule, value=shown, hint=hint)


def _users(tx: Transaction, image: Resource, tags: Collection[ImageTag], naming: _Naming) -> list[str]:
    """Who uses one of these tags, in words: a kept revision that runs its content, a specification that names it."""
    running = users_of(tx, image, {tag.digest for tag in tags})
    names = {tag.name for tag in tags}
    told = {one.resource_uid for one in running}
    users = [f"{one.kind} {one.name} (revision {one.id})" for one in running]
    return users + [
        f"{one.kind} {one.name}"
        for one, own in naming
        if own.repository == image.name and own.tag in names and one.uid not in told
    ]


def _naming(tx: Transaction, workspace: str) -> _Naming:
    stored = [one for kind in WORKLOADS for one in tx.resources.with_setting(kind, ["image"])]
    return [(one, own) for one in stored if one.workspace == workspace and (own := named_image(one.spec)) is not None]


def _fetch(tx: Transaction, workspace: str, kind: str, name: str) -> Resource:
    kinds = WORKLOADS if kind == UNKNOWN else (kind_of(kind),)
    for one in kinds:
        if (image := tx.resources.get(workspace, Kind.IMAGE, f"{one}/{name}")) is not None:
            return image
    shown = name if kind == UNKNOWN else f"{kinds[0]}/{name}"
    raise NotFound(f"There is no image {shown!r} in workspace {workspace!r}.")


def _shown(tx: Transaction, image: Resource) -> ShownImage:
    return ShownImage(resource=image, tags=tx.images.of(image.uid), events=tx.events.of(image.uid))
