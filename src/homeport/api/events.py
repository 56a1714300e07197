"""Events of a workspace, which are Homeport's own: in pages, or live."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import WithJsonSchema

from homeport.api.dependencies import Caller, Ctx
from homeport.api.observability import read_moment
from homeport.app.events import list_events, watch_events
from homeport.app.pages import page_limit
from homeport.core.clock import timestamp
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.store.records import EventQuery
from homeport.store.records import PlacedEvent as Stored
from homeport.wire.events import Events, PlacedEvent

router = APIRouter(prefix="/v0/homeport", tags=["homeport"])

LIMIT = 50
LIMIT_MOST = 500
NUMBER_MOST = 2**53  # more digits than the store counts with would be a failure
_TEXT_MOST = 200  # characters of a filter

Limit = Annotated[
    int | None,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LIMIT_MOST}),
    Query(description="Events on a page; more than the most counts as the most."),
]
Text = Annotated[str, Query(max_length=_TEXT_MOST)]


@router.get("/events", operation_id="ListEvents", responses={200: {"model": Events}})
async def events_route(
    ctx: Ctx,
    caller: Caller,
    kind: Text = "",
    name: Text = "",
    reason: Text = "",
    revision: Text = "",
    since: Annotated[str, Query(description="RFC 3339; only events from then on")] = "",
    until: Annotated[str, Query(description="The same; only events before")] = "",
    before: Annotated[int | None, Query(ge=1, le=NUMBER_MOST, description="`next` of the page before")] = None,
    after: Annotated[int | None, Query(ge=0, le=NUMBER_MOST, description="With follow: only past this number")] = None,
    follow: Annotated[bool, Query(description="Oldest first, then each as it happens, as NDJSON")] = False,
    limit: Limit = None,
) -> Any:
    """What happened to resources: of each the newest 100. With `follow`, only what happens from now on, or from `since`
    on."""
    query = EventQuery(
        limit=page_limit(limit, LIMIT, LIMIT_MOST),
        kind=_kind(kind),
        name=name,
        reason=reason,
        revision=revision,
        since=read_moment("since", since),
        until=read_moment("until", until),
        before=before,
    )
    if follow:
        if query.until is not None or before is not None:
            raise Invalid("follow", "goes with neither until nor before")
        told = await watch_events(ctx, caller, replace(query, after=after))
        return StreamingResponse(_lines(told), media_type="application/x-ndjson")
    if after is not None:
        raise Invalid("after", "goes with follow only", value=after)
    found, following = await list_events(ctx, caller, query)
    return Events(data=[_event_of(one) for one in found], next=following).to_json()


async def _lines(events: AsyncIterator[Stored]) -> AsyncIterator[str]:
    async for one in events:
        yield json.dumps(_event_of(one).to_json()) + "\n"


def _kind(text: str) -> Kind | None:
    if not text:
        return None
    for known in Kind:
        if text in (known.value, known.plural):
            return known
    raise Invalid("kind", f"must be one of {', '.join(Kind)}", value=text)


def _event_of(placed: Stored) -> PlacedEvent:
    event = placed.event
    return PlacedEvent(
        number=placed.number,
        time=timestamp(event.time),
        kind=placed.kind.value,
        name=placed.name,
        type=event.type,
        status=event.status,
        reason=event.reason or None,
        revision=event.revision or None,
        message=event.message,
    )
