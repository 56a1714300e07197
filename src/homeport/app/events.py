"""What happened to resources, as one list: in pages, newest first, and live, oldest first.

Of each resource the newest 100 are kept, and they go with it. `homeport.app.resources` shows those of one resource
with it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from homeport.app.context import Context
from homeport.core.ids import WORKLOADS
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import EventQuery, PlacedEvent

WATCH_INTERVAL_S = 0.5  # how soon an event is told
TOLD_AT_ONCE = 500


async def list_events(
    context: Context, principal: Principal, query: EventQuery
) -> tuple[list[PlacedEvent], int | None]:
    """A page, newest first, and the number before which the next one begins; None where this is the last."""
    mine = _own(principal, query)
    found = await context.store.read(lambda tx: tx.events.find(replace(mine, limit=mine.limit + 1)))
    page = found[: mine.limit]
    return page, page[-1].number if len(found) > len(page) else None


async def watch_events(context: Context, principal: Principal, query: EventQuery) -> AsyncIterator[PlacedEvent]:
    """Those past `after`, or from `since` on, oldest first, else only what happens from now on; then each as it
    happens, until the caller leaves. Raises `Denied` before the first."""
    mine = replace(_own(principal, query), limit=TOLD_AT_ONCE)
    if mine.after is None:
        start = 0 if mine.since is not None else await context.store.read(lambda tx: tx.events.newest())
        mine = replace(mine, after=start)
    return _watched(context, mine)


async def _watched(context: Context, query: EventQuery) -> AsyncIterator[PlacedEvent]:
    while True:
        newest, found = await context.store.read(partial(_look, query))
        for one in found:
            yield one
        if len(found) == query.limit:
            query = replace(query, after=found[-1].number)
            continue
        query = replace(query, after=max(newest, query.after or 0))
        await asyncio.sleep(WATCH_INTERVAL_S)


def _look(query: EventQuery, tx: Transaction) -> tuple[int, list[PlacedEvent]]:
    """In one transaction: what is past the newest number is for the next look."""
    return tx.events.newest(), tx.events.find(query)


def _own(principal: Principal, query: EventQuery) -> EventQuery:
    """Of the caller's workspace. Raises `Denied` without the right to see what is asked for."""
    if query.kind is None:
        for kind in WORKLOADS:
            require(principal, f"{kind.plural}:list")
    else:
        require(principal, f"{query.kind.plural}:list")
    return replace(query, workspace=principal.workspace)
