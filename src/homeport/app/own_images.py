"""The images that were built here, as specifications name them. Asked by placement, which must know where such an image
can run, and by deployments, whose source it is."""

from collections.abc import Mapping
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.images import FIELD, OwnImage, read_own_image
from homeport.store.contract import Transaction
from homeport.store.records import ImageTag, Resource

SHOWN = 10  # names in a refusal


def named_tag(tx: Transaction, workspace: str, kind: Kind, spec: Mapping[str, Any]) -> ImageTag | None:
    """What the image that `spec` names holds, for a workload of `kind`; None where it names none that was built here.
    Raises `Invalid` with what there is where there is no such image, and for a program of the other kind."""
    own = read_own_image(spec)
    if own is None:
        return None
    image = tx.resources.get(workspace, Kind.IMAGE, own.repository)
    tags = {tag.name: tag for tag in tx.images.of(image.uid)} if image else {}
    tag = tags.get(own.tag)
    if tag is None:
        raise Invalid(FIELD, _absent(tx, workspace, own, image, [*tags]), value=str(own))
    if not tag.region and own.kind is not kind:
        rule = f"is a program that was built as {_article(own.kind)}; as {_article(kind)} it starts otherwise"
        raise Invalid(FIELD, rule, value=str(own), hint=f"Deploy its folder as {_article(kind)}.")
    return tag


def known_tag(tx: Transaction, workspace: str, kind: Kind, spec: Mapping[str, Any]) -> ImageTag | None:
    """The same for what was accepted before: None, too, where the image is there no more."""
    try:
        return named_tag(tx, workspace, kind, spec)
    except Invalid:
        return None


def without_echo(
    spec: dict[str, Any], kind: Kind, name: str, *, built: str | None, upload: bool, named: bool = True
) -> dict[str, Any]:
    """`spec` without the image that came along with what was read, where the source is elsewhere: an image of the
    workload's own beside an upload; and the one that it was last `built` as beside a repository, or where no order
    `named` one: it is what the newest source is anyway."""
    own = read_own_image(spec)
    read_back = bool(spec.get("repository")) or not named
    came_along = own is not None and (
        (upload and own.repository == f"{kind}/{name}") or (read_back and str(own) == built)
    )
    if not came_along:
        return spec
    return {**spec, "runtime": {key: value for key, value in spec["runtime"].items() if key != "image"}}


def _absent(tx: Transaction, workspace: str, own: OwnImage, image: Resource | None, tags: list[str]) -> str:
    if image is not None:
        there = ", ".join(tags[:SHOWN]) or "none yet"
        return f"must be an image of this workspace; {own.repository} has the tags {there}"
    names = _names(tx, workspace)
    there = f"there are {', '.join(names)}" if names else "it has none yet"
    return f"must be an image of this workspace; {there}"


def _names(tx: Transaction, workspace: str) -> list[str]:
    found = (tx.resources.by_uid(uid) for uid in tx.images.in_workspace(workspace))
    return sorted(image.name for image in found if image)[:SHOWN]


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind is Kind.AGENT else f"a {kind}"
