"""What routes ask for: the context, the caller, the version, the page."""

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from pydantic import WithJsonSchema

from homeport.api.versions import paged
from homeport.app.authentication import authenticate
from homeport.app.context import Context
from homeport.app.pages import SORTS, PageRequest
from homeport.core.limits import (
    EXECUTION_PAGE_LIMIT_MAX,
    PAGE_LIMIT,
    PAGE_LIMIT_MAX,
    QUERY_LENGTH,
)
from homeport.identity.principals import Principal

# Headers that every operation reads. The document says so once, as the contract does, and not at each operation.
Unseen = Annotated[str | None, Header(include_in_schema=False)]

# The parameters of lists as the contract documents them. What is said here is not what refuses: a limit that is too
# large is clamped, and the old version of the contract reads none of them.
_PAGE = {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX}
_EXECUTIONS = {"type": "integer", "minimum": 1, "maximum": EXECUTION_PAGE_LIMIT_MAX}
_TEXT = {"type": "string"}
Cursor = Annotated[
    str | None,
    WithJsonSchema(_TEXT),
    Query(description="`meta.nextCursor` of the page before, of the same query, for 24 hours."),
]
Limit = Annotated[
    int | None,
    WithJsonSchema(_PAGE),
    Query(description="Items on a page; more than the most counts as the most."),
]
ExecutionLimit = Annotated[
    int | None,
    WithJsonSchema(_EXECUTIONS),
    Query(description="Items on a page; more than the most counts as the most."),
]
Sort = Annotated[
    str | None, WithJsonSchema({**_TEXT, "enum": list(SORTS)}), Query(description="`createdAt:desc` where absent.")
]
Search = Annotated[
    str | None,
    WithJsonSchema({**_TEXT, "maxLength": QUERY_LENGTH}),
    Query(description="Part of a name, a display name or a label; below two characters no filter."),
]
Anchor = Annotated[
    str | None, WithJsonSchema({**_TEXT, "enum": ["end"]}), Query(description="The last page, in an order by time.")
]
Statuses = Annotated[
    str | None, WithJsonSchema(_TEXT), Query(description="Statuses, separated by commas, in any case.")
]

ExternalId = Annotated[
    str | None, WithJsonSchema(_TEXT), Query(alias="externalId", description="Those with this external id.")
]


# Coroutines all, those that wait for nothing too: the framework hands plain functions to a thread, which takes longer
# than what they do.


async def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def caller_of(
    context: Annotated[Context, Depends(context_of)],
    request: Request,
    authorization: Unseen = None,
    x_blaxel_authorization: Unseen = None,
    x_blaxel_workspace: Unseen = None,
    workspace: Annotated[str | None, Query(include_in_schema=False)] = None,
) -> Principal:
    """The principal of the request. `X-Blaxel-Authorization` wins over `Authorization`; an empty workspace header
    is none (public contract). A workspace in the path counts like one in the header."""
    token = _bearer(x_blaxel_authorization) or _bearer(authorization)
    in_path = request.path_params.get("ws")
    return await authenticate(context, token, in_path or x_blaxel_workspace or workspace or None)


def _bearer(header: str | None) -> str | None:
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def version_of(blaxel_version: Unseen = None) -> bool:
    return paged(blaxel_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListParameters:
    """A list request: its page, and whether this version of the contract has pages."""

    page: PageRequest
    paged: bool


async def list_parameters(
    paged: Annotated[bool, Depends(version_of)],
    cursor: Cursor = None,
    limit: Limit = PAGE_LIMIT,
    sort: Sort = None,
    q: Search = None,
    anchor: Anchor = None,
) -> ListParameters:
    request = PageRequest(cursor=cursor, limit=limit, sort=sort, q=q, anchor=anchor)
    return ListParameters(page=request, paged=paged)


async def status_parameters(
    listing: Annotated[ListParameters, Depends(list_parameters)], status: Statuses = None
) -> ListParameters:
    """Those of kinds that have a status."""
    return replace(listing, page=replace(listing.page, status=status))


async def volume_parameters(
    listing: Annotated[ListParameters, Depends(status_parameters)], external_id: ExternalId = None
) -> ListParameters:
    """Those of kinds that are found by the caller's own id, too."""
    return replace(listing, page=replace(listing.page, external_id=external_id))


Caller = Annotated[Principal, Depends(caller_of)]
Ctx = Annotated[Context, Depends(context_of)]
Paged = Annotated[bool, Depends(version_of)]
Listing = Annotated[ListParameters, Depends(list_parameters)]
StatusListing = Annotated[ListParameters, Depends(status_parameters)]
VolumeListing = Annotated[ListParameters, Depends(volume_parameters)]
