"""Policies that were deleted, in SQL. Keeps `contract.Tombstones`."""

from sqlalchemy import Connection, delete, insert, select

from homeport.store.records import Tombstone
from homeport.store.rows import MOMENT, Codec
from homeport.store.tables import resource_policies, tombstones

_TOMBSTONE = Codec(Tombstone, tombstones, "name", deleted_at=MOMENT)


class SqlTombstones:
    """See `contract.Tombstones`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tombstone: Tombstone, keep: int = 1000) -> None:
        self.remove(tombstone.workspace, tombstone.name)
        self._connection.execute(insert(tombstones).values(_TOMBSTONE.values(tombstone)))
        mine = tombstones.c.workspace == tombstone.workspace
        link = resource_policies.c
        in_use = select(1).where(link.workspace == tombstone.workspace, link.policy == tombstones.c.name).exists()
        newest_first = select(tombstones.c.deleted_at).where(mine, ~in_use).order_by(tombstones.c.deleted_at.desc())
        oldest_kept = newest_first.offset(keep - 1).limit(1).scalar_subquery()
        self._connection.execute(delete(tombstones).where(mine, ~in_use, tombstones.c.deleted_at < oldest_kept))

    def get(self, workspace: str, name: str) -> Tombstone | None:
        mine = (tombstones.c.workspace == workspace, tombstones.c.name == name)
        row = self._connection.execute(select(*_TOMBSTONE.columns).where(*mine)).mappings().first()
        return None if row is None else _TOMBSTONE.record(row)

    def remove(self, workspace: str, name: str) -> None:
        mine = (tombstones.c.workspace == workspace, tombstones.c.name == name)
        self._connection.execute(delete(tombstones).where(*mine))
