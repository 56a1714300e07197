"""Lists of resources in both shapes of the contract: pages, and before them bare arrays (§1.3, §1.4)."""

from collections.abc import Callable
from typing import Any

from homeport.api.dependencies import ListParameters
from homeport.app.context import Context
from homeport.app.resources import list_every, list_resources
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.store.records import Resource
from homeport.wire.body import Reply
from homeport.wire.pages import page_of


async def listed(
    context: Context, caller: Principal, kind: Kind, listing: ListParameters, shown: Callable[[Resource], Reply]
) -> Any:
    if not listing.paged:
        return [shown(resource).to_json() for resource in await list_every(context, caller, kind, listing.page)]
    page = await list_resources(context, caller, kind, listing.page)
    return page_of([shown(resource) for resource in page.items], page.cursor, page.total).to_json()
