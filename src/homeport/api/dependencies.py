"""What routes ask for: the context, the caller, the version, the page."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from homeport.api.versions import paged
from homeport.app.authentication import authenticate
from homeport.app.context import Context
from homeport.app.pages import PageRequest
from homeport.identity.principals import Principal


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def caller_of(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,
    x_blaxel_authorization: Annotated[str | None, Header()] = None,
    x_blaxel_workspace: Annotated[str | None, Header()] = None,
    workspace: Annotated[str | None, Query()] = None,
) -> Principal:
    """The principal of the request. `X-Blaxel-Authorization` wins over `Authorization`; an empty workspace header
    is none (public contract). A workspace in the path counts like one in the header."""
    token = _bearer(x_blaxel_authorization) or _bearer(authorization)
    in_path = request.path_params.get("ws")
    return await authenticate(context_of(request), token, in_path or x_blaxel_workspace or workspace or None)


def _bearer(header: str | None) -> str | None:
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def version_of(blaxel_version: Annotated[str | None, Header()] = None) -> bool:
    return paged(blaxel_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListParameters:
    """A list request: its page, and whether this version of the contract has pages."""

    page: PageRequest
    paged: bool


def list_parameters(
    paged: Annotated[bool, Depends(version_of)],
    cursor: Annotated[str | None, Query()] = None,
    limit: Annotated[int | None, Query()] = None,
    sort: Annotated[str | None, Query()] = None,
    q: Annotated[str | None, Query()] = None,
    status: Annotated[str | None, Query()] = None,
    anchor: Annotated[str | None, Query()] = None,
) -> ListParameters:
    request = PageRequest(cursor=cursor, limit=limit, sort=sort, q=q, status=status, anchor=anchor)
    return ListParameters(page=request, paged=paged)


Caller = Annotated[Principal, Depends(caller_of)]
Ctx = Annotated[Context, Depends(context_of)]
Paged = Annotated[bool, Depends(version_of)]
Listing = Annotated[ListParameters, Depends(list_parameters)]
