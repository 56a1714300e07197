"""Cursors of lists: opaque to callers, bound to the query that opened them, valid for 24 hours (public contract)."""

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.limits import CURSOR_AGE_S, PAGE_LIMIT, PAGE_LIMIT_MAX, QUERY_LENGTH
from homeport.store.records import ListQuery
from homeport.workloads.states import WorkloadStatus

SORTS = ("createdAt:desc", "createdAt:asc", "name:asc", "name:desc")
_CURSOR_CHARACTERS = 512  # ours are below 250
_STATUSES = frozenset(status.value for status in WorkloadStatus) | {"TERMINATED", "BUILT"}
_LATER = frozenset({"ARCHIVED", "ARCHIVING", "UNARCHIVING"})  # of clients of version 2026-09-22; nothing has them here


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """The query parameters of a list as they came. `limit` None is the default."""

    cursor: str | None = None
    limit: int | None = None
    sort: str | None = None
    q: str | None = None
    status: str | None = None
    anchor: str | None = None
    external_id: str | None = None

    def query(self, workspace: str, kind: Kind, now: datetime) -> ListQuery:
        """The store's query. Raises `Invalid` naming the parameter."""
        sort = self.checked_sort()
        if self.anchor not in (None, "", "end"):
            raise Invalid("anchor", 'must be "end"', value=self.anchor)
        if self.anchor and not sort.startswith("createdAt"):
            raise Invalid("anchor", "goes with a createdAt sort only", value=self.anchor)
        query = ListQuery(
            workspace=workspace,
            kind=kind,
            limit=page_limit(self.limit, PAGE_LIMIT, PAGE_LIMIT_MAX),
            sort=sort,
            q=self.searched(),
            statuses=check_status(self.status),
            from_end=self.anchor == "end",
            external_id=self.external_id or None,
        )
        after = open_cursor(self.cursor, _fingerprint(query), now)
        return replace(query, after=after)

    def checked_sort(self) -> str:
        sort = self.sort or SORTS[0]
        if sort not in SORTS:
            raise Invalid("sort", f"must be one of {', '.join(SORTS)}", value=self.sort)
        return sort

    def searched(self) -> str | None:
        """Trimmed and lower-case; under two characters is no filter (public contract)."""
        text = (self.q or "").strip().lower()
        if len(text) > QUERY_LENGTH:
            raise Invalid("q", f"must have at most {QUERY_LENGTH} characters")
        # At NUL the database would stop reading the pattern. No control character is in what is searched.
        return text.replace("\0", "\1") if len(text) >= 2 else None


def page_limit(asked: int | None, default: int, maximum: int) -> int:
    """The contract clamps a limit that is too large and refuses one below 1."""
    if asked is None:
        return default
    if asked < 1:
        raise Invalid("limit", "must be at least 1", value=asked)
    return min(asked, maximum)


def resource_cursor(query: ListQuery, position: tuple[str, str] | None, now: datetime) -> str:
    """The cursor after `position`, or an empty string at the end."""
    return make_cursor(position, _fingerprint(query), now)


def make_cursor(position: tuple[str, str] | None, fingerprint: str, now: datetime) -> str:
    if position is None:
        return ""
    made_at = timestamp(now)
    body = json.dumps([*position, made_at, _bound(position, fingerprint, made_at)], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def open_cursor(cursor: str | None, fingerprint: str, now: datetime) -> tuple[str, str] | None:
    """The position in `cursor`; None when there is none. Raises `Invalid` for a foreign, damaged or old one."""
    if not cursor:
        return None
    try:
        if len(cursor) > _CURSOR_CHARACTERS:
            raise ValueError("too long")
        padded = cursor + "=" * (-len(cursor) % 4)
        first, second, made_at, bound = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        age = now - parse_timestamp(made_at)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("cursor", "is not a cursor of this server") from error
    if bound != _bound((first, second), fingerprint, made_at):
        raise Invalid("cursor", "is damaged or belongs to another query; open the list again without it")
    if age > timedelta(seconds=CURSOR_AGE_S):
        raise Invalid("cursor", "is older than 24 hours; open the list again without it")
    return first, second


def _bound(position: tuple[str, str], fingerprint: str, made_at: str) -> str:
    """Ties a position to its query and its time, so that neither another query nor a typing mistake gives a page of
    the wrong list. It is no signature: whoever makes one up reads no more than their own list."""
    return fingerprint_of(position, fingerprint, made_at)


def fingerprint_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _fingerprint(query: ListQuery) -> str:
    return fingerprint_of(query.workspace, query.kind, query.sort, query.q, sorted(query.statuses), query.external_id)


def check_status(status: str | None) -> frozenset[str]:
    """The statuses in a comma list, in whatever case; empty for no filter, which naming all of them is too."""
    wanted = frozenset(part.strip().upper() for part in (status or "").split(",") if part.strip())
    if unknown := wanted - _STATUSES - _LATER:
        raise Invalid("status", f"must be among {', '.join(sorted(_STATUSES))}", value=min(unknown))
    return frozenset() if wanted >= _STATUSES else wanted
