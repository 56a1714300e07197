"""What happened to resources, in SQL. Keeps `contract.Events`: a short history, not a log."""

from sqlalchemy import Connection, delete, insert, literal, select

from homeport.store.records import Event
from homeport.store.rows import MOMENT, Codec
from homeport.store.tables import events, resources

_EVENT = Codec(Event, events, "resource_uid", time=MOMENT)


class SqlEvents:
    """See `contract.Events`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, event: Event, keep: int = 100) -> None:
        values = _EVENT.values(event)
        # Selected from the resource's own row: an event of a thing that is gone has no history to stand in.
        row = select(*(literal(value, events.c[name].type) for name, value in values.items()))
        present = row.where(select(1).where(resources.c.uid == event.resource_uid).exists())
        self._connection.execute(insert(events).from_select([*values], present, include_defaults=False))
        mine = events.c.resource_uid == event.resource_uid
        oldest_kept = select(events.c.sequence).where(mine).order_by(events.c.sequence.desc()).offset(keep).limit(1)
        self._connection.execute(delete(events).where(mine, events.c.sequence <= oldest_kept.scalar_subquery()))

    def of(self, resource_uid: str) -> list[Event]:
        mine = select(*_EVENT.columns).where(events.c.resource_uid == resource_uid).order_by(events.c.sequence)
        return [_EVENT.record(row) for row in self._connection.execute(mine).mappings()]
