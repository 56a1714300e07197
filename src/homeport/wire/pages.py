"""Lists in pages (public contract)."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from homeport.wire.body import Reply

T = TypeVar("T")


class PaginationMeta(Reply):
    """`next_cursor` is empty on the last page and only there; `total` ignores filters."""

    has_more: bool
    next_cursor: str
    total: int


class ListOf(Reply, Generic[T]):
    """One page and where the next one begins. Before version 2026-04-28 of the contract a list is a bare array."""

    data: list[T]
    meta: PaginationMeta


class Page(ListOf[dict[str, Any]]):
    """A page of items that are already JSON."""


def page_of(items: Sequence[Reply], next_cursor: str | None, total: int) -> Page:
    """A page of `items`; None or an empty cursor means the last one."""
    meta = PaginationMeta(has_more=bool(next_cursor), next_cursor=next_cursor or "", total=total)
    return Page(data=[item.to_json() for item in items], meta=meta)
