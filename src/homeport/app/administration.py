"""Who looks after the installation, which all workspaces share: the admins of its first workspace."""

from homeport.app.context import Context
from homeport.core.errors import Denied
from homeport.identity.principals import Principal
from homeport.identity.roles import allows, require

SCOPE = "admin"


def administers(context: Context, principal: Principal) -> bool:
    return principal.workspace == context.first_workspace and allows(principal, SCOPE)


def require_administrator(context: Context, principal: Principal) -> None:
    """Raise `Denied` for whoever is no admin, or one of another workspace."""
    require(principal, SCOPE)
    if not administers(context, principal):
        message = f"This concerns all workspaces: it is for admins of {context.first_workspace!r}, the first one."
        raise Denied(message, hint="Ask whoever runs this installation.")
