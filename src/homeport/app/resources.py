"""What policies and workloads have in common: reading one, listing a page, making and changing the envelope."""

from dataclasses import dataclass, replace
from datetime import datetime

from homeport.app.context import Context, Intent
from homeport.app.pages import PageRequest, resource_cursor
from homeport.core.errors import NotFound
from homeport.core.ids import Kind, check_name, new_id
from homeport.core.limits import PAGE_LIMIT_MAX
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Event, ListQuery, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """A page as the contract shows it: `cursor` is empty at the end."""

    items: list[Resource]
    cursor: str
    total: int


async def get_resource(context: Context, principal: Principal, kind: Kind, name: str) -> tuple[Resource, list[Event]]:
    """The resource with its events, oldest first. Raises `NotFound`."""
    require(principal, f"{kind.plural}:get")

    def read(tx: Transaction) -> tuple[Resource, list[Event]]:
        resource = fetch(tx, principal.workspace, kind, name)
        return resource, tx.events.of(resource.uid)

    return await context.store.read(read)


async def list_resources(context: Context, principal: Principal, kind: Kind, request: PageRequest) -> ListedPage:
    require(principal, f"{kind.plural}:list")
    now = context.clock.now()
    query = request.query(principal.workspace, kind, now)
    page = await context.store.read(lambda tx: tx.resources.page(query))
    return ListedPage(items=page.items, cursor=resource_cursor(query, page.next, now), total=page.total)


async def list_every(context: Context, principal: Principal, kind: Kind, request: PageRequest) -> list[Resource]:
    """Everything of a kind, for the old version of the contract that has no pages."""
    items: list[Resource] = []
    cursor: str | None = None
    while cursor != "":
        page = await list_resources(context, principal, kind, replace(request, cursor=cursor, limit=200))
        items += page.items
        cursor = page.cursor
    return items


def every_of(tx: Transaction, workspace: str, kind: Kind) -> list[Resource]:
    """Everything of a kind in the workspace, by name."""
    query = ListQuery(workspace=workspace, kind=kind, limit=PAGE_LIMIT_MAX, sort="name:asc")
    found: list[Resource] = []
    while True:
        page = tx.resources.page(query)
        found += page.items
        if page.next is None:
            return found
        query = replace(query, after=page.next)


def fetch(tx: Transaction, workspace: str, kind: Kind, name: str) -> Resource:
    """The resource, or `NotFound` naming kind, name and workspace."""
    resource = tx.resources.get(workspace, kind, name)
    if resource is None:
        raise NotFound(f"There is no {kind} {name!r} in workspace {workspace!r}.")
    return resource


def new_resource(principal: Principal, kind: Kind, intent: Intent, now: datetime) -> Resource:
    return Resource(
        uid=new_id(kind.value, 16),
        workspace=principal.workspace,
        kind=kind,
        name=check_name(intent.name),
        display_name=intent.display_name,
        external_id=intent.external_id,
        labels=intent.labels,
        spec=intent.spec,
        generation=1,
        observed_generation=0,
        status=None,
        created_at=now,
        created_by=principal.sub,
        updated_at=now,
        updated_by=principal.sub,
    )


def updated(stored: Resource, principal: Principal, intent: Intent, now: datetime) -> Resource:
    """`stored` with the intent's values and the next generation. An external id is kept when it is omitted
    (public contract)."""
    return replace(
        stored,
        display_name=intent.display_name,
        external_id=intent.external_id or stored.external_id,
        labels=intent.labels,
        spec=intent.spec,
        generation=stored.generation + 1,
        updated_at=now,
        updated_by=principal.sub,
    )
