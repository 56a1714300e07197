"""Kinds of the contract that this version does not serve: their lists are empty, so that clients that look around go
on; everything else about them is 404 with that reason."""

from typing import Any

from fastapi import APIRouter

from homeport.api.dependencies import Caller, Paged
from homeport.core.errors import NotFound
from homeport.wire.pages import page_of

router = APIRouter(tags=["unserved"], include_in_schema=False)

PAGED_KINDS = ("applications", "drives", "functions", "models", "sandboxes", "volumes")
BARE_KINDS = ("images", "integrations/connections", "templates", "volume_templates")


def _add(kind: str, *, in_pages: bool) -> None:
    @router.get(f"/v0/{kind}")
    async def list_unserved(caller: Caller, paged: Paged) -> Any:
        return page_of([], None, 0).to_json() if in_pages and paged else []

    async def refuse(caller: Caller) -> None:
        raise NotFound(f"{kind.capitalize()} are not served by this version.")

    router.add_api_route(f"/v0/{kind}", refuse, methods=["POST"])
    router.add_api_route(f"/v0/{kind}/{{rest:path}}", refuse, methods=["GET", "POST", "PUT", "DELETE"])


for _kind in PAGED_KINDS:
    _add(_kind, in_pages=True)
for _kind in BARE_KINDS:
    _add(_kind, in_pages=False)
