"""Lists of resources in both shapes of the contract: pages, and before them bare arrays."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from homeport.api.dependencies import ListParameters
from homeport.app.context import Context
from homeport.app.pages import PageRequest, check_status
from homeport.app.resources import list_every, list_resources
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.store.records import Resource
from homeport.wire.body import Reply
from homeport.wire.pages import page_of


async def listed(
    context: Context,
    caller: Principal,
    kind: Kind,
    listing: ListParameters,
    shown: Callable[[Resource], Reply],
    before: Callable[[Sequence[Resource]], Awaitable[None]] | None = None,
) -> Any:
    """`shown` makes one item; `before`, if given, is called with all that will be shown, to read what they need."""
    if not listing.paged:
        # The old version checks `status`, applies none of the parameters and answers everything (public contract).
        check_status(listing.page.status)
        every = await list_every(context, caller, kind, PageRequest())
        if before is not None:
            await before(every)
        return [shown(resource).to_json() for resource in every]
    page = await list_resources(context, caller, kind, listing.page)
    if before is not None:
        await before(page.items)
    return page_of([shown(resource) for resource in page.items], page.cursor, page.total).to_json()
