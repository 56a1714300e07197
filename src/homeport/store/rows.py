"""Between rows and records: how each field is written, and read back or refused.

Used by the repositories of this package. Reading is strict: what does not fit its field raises `Internal` with the
row's id, because a row that is skipped is a thing that nobody looks after any more.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Table
from sqlalchemy.exc import IntegrityError

from homeport.core.errors import Conflict, Internal

R = TypeVar("R")
E = TypeVar("E", bound=Enum)
V = TypeVar("V")

_IN_ONE = 500  # parameters of one statement; SQLite's default allows 999 in older builds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970; `moment` must have a zone."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def portions(values: Sequence[V]) -> Iterator[Sequence[V]]:
    """As many at once as one `IN (…)` takes."""
    for first in range(0, len(values), _IN_ONE):
        yield values[first : first + _IN_ONE]


@dataclass(frozen=True, slots=True)
class Form:
    """How a field is written and read. Both are called for every value, None included."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


MOMENT = Form(micros, moment)


def maybe(form: Form) -> Form:
    """The same form where the field may be None."""
    return Form(
        lambda value: None if value is None else form.write(value),
        lambda value: None if value is None else form.read(value),
    )


def named(states: type[E]) -> Form:
    """An enum as its text."""
    return Form(lambda state: state.value, states)


def coded(codes: Mapping[Any, int]) -> Form:
    """An enum as a small number."""
    states = {code: state for state, code in codes.items()}
    return Form(codes.__getitem__, states.__getitem__)


def dump(value: object) -> str:
    """Compact JSON in ASCII, so that even text that is not valid Unicode can be kept."""
    return json.dumps(value, separators=(",", ":"))


def _read_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _read_list(text: str) -> tuple[Any, ...]:
    value = json.loads(text)
    if not isinstance(value, list):
        raise ValueError("not a list")
    return tuple(value)


OBJECT = Form(dump, _read_object)
LIST = Form(lambda items: dump([*items]), _read_list)


class Codec(Generic[R]):
    """The mapping of one record to its table. Fields and columns have the same names; those without a `Form` are
    written as they are. `given` are fields that the repository fills in; any other field must have its column."""

    def __init__(self, record: type[R], table: Table, key: str, given: Sequence[str] = (), **forms: Form) -> None:
        self._record = record
        self._table = table
        self._key = key
        self._forms = forms
        names = (field.name for field in fields(record))  # type: ignore[arg-type]
        self._names = tuple(name for name in names if name not in given)
        self.columns: list[ColumnElement[Any]] = [table.c[name] for name in self._names]
        """What a select must name for `record`."""

    def values(self, record: R) -> dict[str, Any]:
        """The record as column values."""
        return {name: self._written(name, getattr(record, name)) for name in self._names}

    def record(self, row: RowMapping, **given: Any) -> R:
        """The row as a record. Raises `Internal` with the row's id."""
        try:
            return self._record(**{name: self._read(name, row[name]) for name in self._names}, **given)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            ident = given.get(self._key, row.get(self._key))
            place = f"row {ident!r} of {self._table.name}" + (f" {given}" if given else "")
            raise Internal(detail=f"{place} cannot be read: {error!r}") from error

    def _written(self, name: str, value: Any) -> Any:
        form = self._forms.get(name)
        return value if form is None else form.write(value)

    def _read(self, name: str, value: Any) -> Any:
        form = self._forms.get(name)
        return value if form is None else form.read(value)


@contextmanager
def conflict(message: str, hint: str = "") -> Iterator[None]:
    """Turn a broken uniqueness or reference into `Conflict`. The work that meets it must end: on PostgreSQL its
    transaction is already lost."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(message, hint=hint, detail=str(error.orig)) from error
