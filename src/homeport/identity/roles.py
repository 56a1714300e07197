"""Roles and the scopes that each has (public contract), and the one question: may this principal do that?

Called by the API before each use case. A principal needs both: its role has the scope, and its key is not narrowed to
others. Membership is not checked here; a principal is only made for the workspace in which it holds its role.
"""

from enum import StrEnum

from homeport.core.errors import Denied
from homeport.identity.principals import Principal
from homeport.identity.principals import Role as Role  # this module is where others find it

ALL = "all"  # the scope of a key that is not narrowed


class _Group(StrEnum):
    """The contract's kinds with the five ordinary verbs."""

    AGENTS = "agents"
    APPLICATIONS = "applications"
    FUNCTIONS = "functions"
    JOBS = "jobs"
    MODELS = "models"
    POLICIES = "policies"
    CUSTOM_DOMAINS = "customdomains"
    SANDBOXES = "sandboxes"
    DRIVES = "drives"
    VOLUMES = "volumes"
    IMAGES = "images"
    INTEGRATIONS = "integrations"


_VERBS = ("create", "delete", "get", "list", "update")

# Scopes of Homeport's own: to call a workload through the gateway, and to start executions without the right to
# change jobs, which the contract's `jobs:create` includes.
_RUN = frozenset({"agents:run", "functions:run", "models:run", "jobs:run"})

_OTHERS = frozenset(
    {
        "admin",
        "apiKey:list",
        "apiKey:write",
        "configurations:list",
        "egressgateways:list",
        "egressips:list",
        "featureFlags:get",
        "featureFlags:list",
        "images:share",
        "invitations:list",
        "locations:list",
        "mcphub:list",
        "sandboxes:control",
        "sandboxhub:list",
        "templates:get",
        "templates:list",
        "volumeTemplates:create",
        "volumeTemplates:delete",
        "volumeTemplates:get",
        "volumeTemplates:list",
        "volumeTemplates:upsert",
        "workspaces:accept",
        "workspaces:create",
        "workspaces:decline",
        "workspaces:delete",
        "workspaces:get",
        "workspaces:invite",
        "workspaces:leave",
        "workspaces:list",
        "workspaces:remove",
        "workspaces:update",
    }
)

SCOPES = frozenset(f"{group}:{verb}" for group in _Group for verb in _VERBS) | _OTHERS | _RUN

# What a member lacks: policies and the workspace are read-only to it, keys and people and sharing are the admin's.
_ADMIN_ONLY = frozenset(
    {
        "admin",
        "apiKey:list",
        "apiKey:write",
        "images:share",
        "integrations:create",
        "integrations:delete",
        "integrations:update",
        "invitations:list",
        "policies:create",
        "policies:delete",
        "policies:update",
        "workspaces:create",
        "workspaces:delete",
        "workspaces:invite",
        "workspaces:remove",
        "workspaces:update",
    }
)

_ROLE_SCOPES = {
    Role.ADMIN: SCOPES,
    Role.MEMBER: SCOPES - _ADMIN_ONLY,
    # A program may call its neighbours and start and watch executions. It reads and changes nothing else.
    Role.WORKLOAD: _RUN | {"jobs:get", "jobs:list"},
}


def scopes_of(role: Role) -> frozenset[str]:
    """Every scope that `role` has."""
    return _ROLE_SCOPES[role]


def allows(principal: Principal, scope: str) -> bool:
    """Whether the role has `scope` and the key is not narrowed to others."""
    narrowed = ALL not in principal.scopes and scope not in principal.scopes
    return scope in _ROLE_SCOPES[principal.role] and not narrowed


def require(principal: Principal, scope: str, *alternatives: str) -> None:
    """Raise `Denied`, naming the scope and the role or the key, unless `scope` or one of `alternatives` is allowed."""
    if any(allows(principal, one) for one in (scope, *alternatives)):
        return
    who = principal.name or principal.sub
    if scope in _ROLE_SCOPES[principal.role]:
        narrowed = ", ".join(principal.scopes) or "none"
        message = f'"{scope}" is needed, and the key of {who} is narrowed to: {narrowed}.'
        raise Denied(message, hint="Use a key with that scope.")
    message = f'"{scope}" is needed, and the role {principal.role} of {who} in {principal.workspace} has no such scope.'
    raise Denied(message, hint="Ask an admin of the workspace.")
