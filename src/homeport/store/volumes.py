"""Where volumes are and what they are attached to, in SQL. Keeps `contract.Volumes`."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from homeport.store.records import VolumePlace
from homeport.store.rows import Codec
from homeport.store.tables import volumes

_PLACE = Codec(VolumePlace, volumes, "resource_uid")
_OF = select(*_PLACE.columns).where(volumes.c.resource_uid.in_(bindparam("uids", expanding=True)))
_ATTACHED = select(*_PLACE.columns).where(volumes.c.attached_to.is_not(None))


class SqlVolumes:
    """See `contract.Volumes`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, place: VolumePlace) -> None:
        self._connection.execute(insert(volumes).values(_PLACE.values(place)))

    def of(self, uids: Sequence[str]) -> dict[str, VolumePlace]:
        rows = self._connection.execute(_OF, {"uids": [*uids]}).mappings()
        found = [_PLACE.record(row) for row in rows]
        return {place.resource_uid: place for place in found}

    def attached(self) -> list[VolumePlace]:
        return [_PLACE.record(row) for row in self._connection.execute(_ATTACHED).mappings()]

    def attach(self, volume_uid: str, resource_uid: str | None) -> None:
        mine = volumes.c.resource_uid == volume_uid
        self._connection.execute(update(volumes).where(mine).values(attached_to=resource_uid))
