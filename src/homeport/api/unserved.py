"""Kinds of the contract that this version does not serve: their lists are empty, so that clients that look around go
on; everything else about them is 404 with that reason."""

from typing import Any

from fastapi import APIRouter

from homeport.api.dependencies import Caller, Paged
from homeport.core.errors import NotFound
from homeport.identity.roles import require
from homeport.wire.pages import page_of

router = APIRouter(tags=["unserved"], include_in_schema=False)

# Where each kind is, and the scope that lists it.
PAGED_KINDS = {
    "applications": "applications:list",
    "drives": "drives:list",
    "functions": "functions:list",
    "models": "models:list",
    "sandboxes": "sandboxes:list",
    "volumes": "volumes:list",
}
BARE_KINDS = {
    "images": "images:list",
    "integrations/connections": "integrations:list",
    "templates": "templates:list",
    "volume_templates": "volumeTemplates:list",
}


def _add(kind: str, scope: str, *, in_pages: bool) -> None:
    @router.get(f"/v0/{kind}")
    async def list_unserved(caller: Caller, paged: Paged) -> Any:
        require(caller, scope)
        return page_of([], None, 0).to_json() if in_pages and paged else []

    async def refuse(caller: Caller) -> None:
        raise NotFound(f"{kind.replace('_', ' ').capitalize()} are not served by this version.")

    router.add_api_route(f"/v0/{kind}", refuse, methods=["POST"])
    router.add_api_route(f"/v0/{kind}/{{rest:path}}", refuse, methods=["GET", "POST", "PUT", "DELETE"])


for _kind, _scope in PAGED_KINDS.items():
    _add(_kind, _scope, in_pages=True)
for _kind, _scope in BARE_KINDS.items():
    _add(_kind, _scope, in_pages=False)
