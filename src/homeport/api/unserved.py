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
    "models": "models:list",
    "sandboxes": "sandboxes:list",
}
BARE_KINDS = {
    "customdomains": "customdomains:list",
    "egressgateways": "egressgateways:list",
    "egressips": "egressips:list",
    "integrations/connections": "integrations:list",
    "mcp/hub": "mcphub:list",
    "pending-image-shares": "images:share",
    "sandbox/hub": "sandboxhub:list",
    "templates": "templates:list",
    "users": "workspaces:list",
    "volume_templates": "volumeTemplates:list",
    "vpcs": "admin",
}
# Lists inside of an object.
NAMED_KINDS: dict[str, tuple[str, dict[str, Any]]] = {"features": ("featureFlags:list", {"features": {}})}
# What the contract shows to anybody.
OPEN: dict[str, dict[str, Any]] = {"changelog": {"entries": []}, "drives/jwks.json": {"keys": []}}
WRITES = ["POST", "PUT", "DELETE"]


def _add_open(path: str, answer: dict[str, Any]) -> None:
    @router.get(f"/v0/{path}")
    async def read_open() -> Any:
        return answer


def _add_list(kind: str, scope: str, answer: Any, *, in_pages: bool = False) -> None:
    @router.get(f"/v0/{kind}")
    async def list_unserved(caller: Caller, paged: Paged) -> Any:
        require(caller, scope)
        return page_of([], None, 0).to_json() if in_pages and paged else answer

    _refuse(kind, f"/v0/{kind}", WRITES)
    _refuse(kind, f"/v0/{kind}/{{rest:path}}", ["GET", *WRITES])


def _refuse(kind: str, path: str, methods: list[str]) -> None:
    async def refuse(caller: Caller) -> None:
        raise NotFound(f"{kind.replace('_', ' ').capitalize()} are not served by this version.")

    router.add_api_route(path, refuse, methods=methods)


for _path, _answer in OPEN.items():
    _add_open(_path, _answer)
for _kind, _scope in PAGED_KINDS.items():
    _add_list(_kind, _scope, [], in_pages=True)
for _kind, _scope in BARE_KINDS.items():
    _add_list(_kind, _scope, [])
for _kind, (_scope, _answer) in NAMED_KINDS.items():
    _add_list(_kind, _scope, _answer)
_refuse("integrations", "/v0/integrations/{name}", ["GET"])
_refuse("image shares", "/v0/images/{resourceType}/{imageName}/share", ["GET", "POST"])
_refuse("image shares", "/v0/images/{resourceType}/{imageName}/share/{target}", ["DELETE"])
