"""Who may look at the signing keys, have a new one made, and end old ones: admins."""

from homeport.app.context import Context
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.reconcile.signing import KnownKey

SCOPE = "admin"


async def list_signing_keys(context: Context, principal: Principal) -> list[KnownKey]:
    require(principal, SCOPE)
    return await context.signing.known()


async def rotate_signing_key(context: Context, principal: Principal, *, only: bool) -> list[KnownKey]:
    """Have a new key sign; see `SigningKeys.rotate`. Returns all of them."""
    require(principal, SCOPE)
    await context.signing.rotate(only=only)
    return await context.signing.known()


async def retire_signing_key(context: Context, principal: Principal, kid: str, *, force: bool) -> KnownKey:
    """See `SigningKeys.retire`."""
    require(principal, SCOPE)
    return await context.signing.retire(kid, force=force)
