"""Lists in pages (public contract)."""

from collections.abc import Sequence
from typing import Any

from homeport.wire.body import Reply


class PaginationMeta(Reply):
    """`next_cursor` is empty on the last page and only there; `total` ignores filters."""

    has_more: bool
    next_cursor: str
    total: int


class Page(Reply):
    """One page: items that are already JSON, and where the next one begins."""

    data: list[dict[str, Any]]
    meta: PaginationMeta


def page_of(items: Sequence[Reply], next_cursor: str | None, total: int) -> Page:
    """A page of `items`; None or an empty cursor means the last one."""
    meta = PaginationMeta(has_more=bool(next_cursor), next_cursor=next_cursor or "", total=total)
    return Page(data=[item.to_json() for item in items], meta=meta)
