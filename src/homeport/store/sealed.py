"""Which rows hold what is sealed by certain keys: how a change of keys finds what is left, a few rows at a time."""

from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, literal, or_

Chosen = TypeVar("Chosen", bound=Select[Any])


@dataclass(frozen=True, slots=True)
class Sealed:
    """At most `limit` rows that hold one of `marks`, with which whatever a key seals begins."""

    marks: tuple[str, ...]
    limit: int


def narrowed(chosen: Chosen, only: Sealed | None, *columns: ColumnElement[Any]) -> Chosen:
    """The rows of `chosen` of which one of these columns of text holds a mark; all of them without `only`."""
    if only is None:
        return chosen
    holding = (column.contains(mark, autoescape=True) for column in columns for mark in only.marks)
    return chosen.where(or_(*holding)).limit(only.limit)


def beginning(chosen: Chosen, only: Sealed | None, *columns: ColumnElement[Any]) -> Chosen:
    """As `narrowed`, of columns of bytes that are sealed as a whole."""
    if only is None:
        return chosen
    begun = (func.substr(column, 1, len(mark)) == literal(mark.encode()) for column in columns for mark in only.marks)
    return chosen.where(or_(*begun)).limit(only.limit)
