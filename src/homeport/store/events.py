"""What happened to resources, in SQL. Keeps `contract.Events`: a short history, not a log."""

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, literal, select

from homeport.core.ids import Kind
from homeport.store.records import Event, EventQuery, PlacedEvent
from homeport.store.rows import MOMENT, Codec, micros
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

    def find(self, query: EventQuery) -> list[PlacedEvent]:
        number = events.c.sequence
        chosen = _PLACED.where(*_conditions(query)).limit(query.limit)
        ordered = chosen.order_by(number.desc() if query.after is None else number)
        return [_placed(row) for row in self._connection.execute(ordered).mappings()]

    def newest(self) -> int:
        return self._connection.execute(select(func.coalesce(func.max(events.c.sequence), 0))).scalar_one()


_PLACED = select(
    *_EVENT.columns,
    events.c.sequence,
    resources.c.workspace,
    resources.c.kind,
    resources.c.name,
).join_from(events, resources, resources.c.uid == events.c.resource_uid)


def _conditions(query: EventQuery) -> list[ColumnElement[bool]]:
    equal = (
        (resources.c.workspace, query.workspace),
        (resources.c.kind, query.kind),
        (resources.c.name, query.name),
        (events.c.reason, query.reason),
        (events.c.revision, query.revision),
    )
    found = [column == value for column, value in equal if value]
    if query.since is not None:
        found.append(events.c.time >= micros(query.since))
    if query.until is not None:
        found.append(events.c.time < micros(query.until))
    if query.after is not None:
        found.append(events.c.sequence > query.after)
    if query.before is not None:
        found.append(events.c.sequence < query.before)
    return found


def _placed(row: RowMapping) -> PlacedEvent:
    whose = {"workspace": row["workspace"], "name": row["name"], "kind": Kind(row["kind"])}
    return PlacedEvent(number=row["sequence"], event=_EVENT.record(row), **whose)
