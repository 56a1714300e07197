"""Tags of images, and what engines have because of us, in SQL. Keeps `contract.Images`."""

from sqlalchemy import Connection, Select, delete, insert, select, update

from homeport.store.records import BroughtImage, ImageTag
from homeport.store.rows import LIST, MOMENT, Codec, conflict, maybe
from homeport.store.tables import brought_images, image_tags, resources

_TAG = Codec(
    ImageTag,
    image_tags,
    "name",
    entrypoint=LIST,
    created_at=MOMENT,
    updated_at=MOMENT,
    deployed_at=maybe(MOMENT),
)
_BROUGHT = Codec(BroughtImage, brought_images, "digest", created_at=MOMENT)


class SqlImages:
    """See `contract.Images`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, tag: ImageTag) -> None:
        self.remove(tag.resource_uid, tag.name)
        with conflict("The image is gone."):
            self._connection.execute(insert(image_tags).values(_TAG.values(tag)))

    def of(self, resource_uid: str) -> list[ImageTag]:
        return self._tags(select(*_TAG.columns).where(image_tags.c.resource_uid == resource_uid))

    def in_workspace(self, workspace: str) -> dict[str, list[ImageTag]]:
        mine = select(resources.c.uid).where(resources.c.workspace == workspace, resources.c.kind == "image")
        return _by_image(self._tags(select(*_TAG.columns).where(image_tags.c.resource_uid.in_(mine))))

    def every(self) -> dict[str, list[ImageTag]]:
        return _by_image(self._tags(select(*_TAG.columns)))

    def remove(self, resource_uid: str, name: str) -> None:
        mine = (image_tags.c.resource_uid == resource_uid, image_tags.c.name == name)
        self._connection.execute(delete(image_tags).where(*mine))

    def digests(self) -> set[str]:
        return {*self._connection.scalars(select(image_tags.c.digest).distinct())}

    def bring(self, image: BroughtImage) -> None:
        table = brought_images.c
        mine = (table.region == image.region, table.digest == image.digest)
        known = update(brought_images).where(*mine).values(reference=image.reference)
        if not self._connection.execute(known).rowcount:
            self._connection.execute(insert(brought_images).values(_BROUGHT.values(image)))

    def brought(self) -> list[BroughtImage]:
        oldest_first = select(*_BROUGHT.columns).order_by(brought_images.c.created_at, brought_images.c.digest)
        return [_BROUGHT.record(row) for row in self._connection.execute(oldest_first).mappings()]

    def forget_brought(self, region: str, digest: str) -> None:
        mine = (brought_images.c.region == region, brought_images.c.digest == digest)
        self._connection.execute(delete(brought_images).where(*mine))

    def _tags(self, chosen: Select[tuple[object, ...]]) -> list[ImageTag]:
        found = self._connection.execute(chosen.order_by(image_tags.c.resource_uid, image_tags.c.name))
        return [_TAG.record(row) for row in found.mappings()]


def _by_image(tags: list[ImageTag]) -> dict[str, list[ImageTag]]:
    found: dict[str, list[ImageTag]] = {}
    for tag in tags:
        found.setdefault(tag.resource_uid, []).append(tag)
    return found
