"""When agents call themselves, in SQL. Keeps `invocation_contract.Schedules`."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from homeport.store.invocation_records import Schedule
from homeport.store.rows import MOMENT, Codec, micros, moment
from homeport.store.tables import schedules

_SCHEDULE = Codec(Schedule, schedules, "trigger", checked_at=MOMENT, next_at=MOMENT)


class SqlSchedules:
    """See `invocation_contract.Schedules`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, resource_uid: str) -> list[Schedule]:
        return self._all(schedules.c.resource_uid == resource_uid)

    def set(self, resource_uid: str, wanted: Sequence[Schedule]) -> None:
        self._connection.execute(delete(schedules).where(schedules.c.resource_uid == resource_uid))
        if wanted:
            self._connection.execute(insert(schedules), [_SCHEDULE.values(one) for one in wanted])

    def due(self, now: datetime, limit: int) -> list[Schedule]:
        return self._all(schedules.c.next_at <= micros(now), limit=limit)

    def next_at(self) -> datetime | None:
        found = self._connection.scalar(select(func.min(schedules.c.next_at)))
        return None if found is None else moment(found)

    def check(self, schedule: Schedule) -> None:
        mine = (schedules.c.resource_uid == schedule.resource_uid, schedules.c.trigger == schedule.trigger)
        values = {"checked_at": micros(schedule.checked_at), "next_at": micros(schedule.next_at)}
        self._connection.execute(update(schedules).where(*mine).values(values))

    def _all(self, *where: object, limit: int | None = None) -> list[Schedule]:
        chosen = select(*_SCHEDULE.columns).where(*where).order_by(schedules.c.next_at, schedules.c.resource_uid)  # type: ignore[arg-type]
        return [_SCHEDULE.record(row) for row in self._connection.execute(chosen.limit(limit)).mappings()]
