"""Pages by position: each page starts after the last item of the one before, so the two-hundredth costs what the
first does, and nothing is shown twice while the list changes. Used by the repositories of resources and executions."""

from typing import Any

from sqlalchemy import Column, Connection, RowMapping, Select, tuple_

from homeport.core.errors import Invalid

Position = tuple[str, str]


class Keyset:
    """An order by (column, unique column), both in the same direction, and positions in it."""

    def __init__(self, column: Column[Any], unique: Column[Any], *, descending: bool) -> None:
        self._columns = (column, unique)
        self._descending = descending

    def rows(
        self, connection: Connection, select: Select[Any], limit: int, after: Position | None, offset: int = 0
    ) -> tuple[list[RowMapping], Position | None]:
        """Up to `limit` rows after the position, and the position after them, None at the end."""
        chosen = self._ordered(select, self._descending)
        if after is not None:
            here = tuple_(*self._columns)
            there = tuple_(*self._parsed(after), types=[column.type for column in self._columns])
            chosen = chosen.where(here < there if self._descending else here > there)
        rows = [*connection.execute(chosen.limit(limit + 1).offset(offset or None)).mappings()]
        more = len(rows) > limit
        rows = rows[:limit]
        return rows, self._position(rows[-1]) if more and rows else None

    def last_rows(self, connection: Connection, select: Select[Any], limit: int) -> list[RowMapping]:
        """The last `limit` rows, in the list's own order."""
        backwards = self._ordered(select, not self._descending).limit(limit)
        return [*connection.execute(backwards).mappings()][::-1]

    def _ordered(self, select: Select[Any], descending: bool) -> Select[Any]:
        return select.order_by(*(column.desc() if descending else column.asc() for column in self._columns))

    def _position(self, row: RowMapping) -> Position:
        first, second = (row[column.name] for column in self._columns)
        return str(first), str(second)

    def _parsed(self, after: Position) -> tuple[Any, str]:
        kind = self._columns[0].type.python_type
        try:
            found = kind(after[0])
        except ValueError as error:
            raise Invalid("cursor", "is not a cursor of this list") from error
        if isinstance(found, int) and not -(2**63) <= found < 2**63:  # what the database can compare with
            raise Invalid("cursor", "is not a cursor of this list")
        return found, after[1]
