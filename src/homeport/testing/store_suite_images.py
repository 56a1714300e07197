"""What every store promises about tags of images, and about what engines have because of us."""

from dataclasses import replace
from datetime import timedelta

import pytest

from homeport.core.errors import Conflict
from homeport.core.ids import Kind, RevisionId
from homeport.store.contract import Store
from homeport.store.records import BroughtImage, ImageTag
from homeport.testing.factories import NOON, make_resource, make_revision

TAG = ImageTag(
    resource_uid="image-1",
    name="latest",
    digest="d1",
    region="docks",
    source="r.io/x@sha256:1",
    entrypoint=("a", "b"),
    size=5 * 2**32,
    created_at=NOON,
    updated_at=NOON,
    deployed_at=None,
)
BROUGHT = BroughtImage(region="docks", digest="d1", reference="r.io/x:1", created_at=NOON)


class ImageSuite:
    """What `Images` promises."""

    async def test_a_tag_is_replaced_by_name_and_goes_with_its_image(self, store: Store) -> None:
        for uid, workspace in (("image-1", "home"), ("image-2", "away")):
            made = make_resource("agent/a", uid=uid, kind=Kind.IMAGE, workspace=workspace)
            await store.write(lambda tx, made=made: tx.resources.insert(made))  # type: ignore[misc]
        other, newer = replace(TAG, name="d1"), replace(TAG, digest="d2", deployed_at=NOON)
        for tag in (TAG, other, newer, replace(TAG, resource_uid="image-2", digest="d3")):
            await store.write(lambda tx, tag=tag: tx.images.put(tag))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.images.of("image-1")) == [other, newer]
        assert await store.read(lambda tx: tx.images.in_workspace("home")) == {"image-1": [other, newer]}
        assert sorted(await store.read(lambda tx: tx.images.every())) == ["image-1", "image-2"]
        assert await store.read(lambda tx: tx.images.digests()) == {"d1", "d2", "d3"}
        await store.write(lambda tx: tx.images.remove("image-1", "d1"))
        await store.write(lambda tx: tx.resources.delete("image-2"))
        assert await store.read(lambda tx: tx.images.every()) == {"image-1": [newer]}

    async def test_a_tag_of_an_image_that_is_gone_is_refused(self, store: Store) -> None:
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.images.put(TAG))

    async def test_what_was_brought_is_noted_once_for_each_region(self, store: Store) -> None:
        later = replace(BROUGHT, region="yard", created_at=NOON + timedelta(seconds=1))
        for image in (later, BROUGHT, replace(BROUGHT, reference="r.io/x:2", created_at=later.created_at)):
            await store.write(lambda tx, image=image: tx.images.bring(image))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.images.brought()) == [replace(BROUGHT, reference="r.io/x:2"), later]
        await store.write(lambda tx: tx.images.forget_brought("docks", "d1"))
        assert await store.read(lambda tx: tx.images.brought()) == [later]

    async def test_revisions_are_found_by_what_they_were_built_as(self, store: Store) -> None:
        owner = make_resource()
        await store.write(lambda tx: tx.resources.insert(owner))
        for number, digest in enumerate(("d1", "d2", None)):
            made = make_revision(owner, id=RevisionId(f"rev-{number}"), generation=number + 1, bundle_digest=digest)
            await store.write(lambda tx, made=made: tx.revisions.insert(made))  # type: ignore[misc]
        found = await store.read(lambda tx: tx.revisions.built_as("home", ["d1", "d9"]))
        assert [one.id for one in found] == ["rev-0"]
        assert await store.read(lambda tx: tx.revisions.built_as("away", ["d1"])) == []
        assert await store.read(lambda tx: tx.revisions.built_as("home", [])) == []
