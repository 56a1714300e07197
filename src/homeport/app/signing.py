"""Who may look at the signing keys, have a new one made, and end old ones: whoever administers the installation."""

from homeport.app.administration import require_administrator
from homeport.app.context import Context
from homeport.identity.principals import Principal
from homeport.reconcile.signing import KnownKey


async def list_signing_keys(context: Context, principal: Principal) -> list[KnownKey]:
    require_administrator(context, principal)
    return await context.signing.known()


async def rotate_signing_key(context: Context, principal: Principal, *, only: bool) -> list[KnownKey]:
    """Have a new key sign; see `SigningKeys.rotate`. Returns all of them."""
    require_administrator(context, principal)
    await context.signing.rotate(only=only)
    return await context.signing.known()


async def retire_signing_key(context: Context, principal: Principal, kid: str, *, force: bool) -> KnownKey:
    """See `SigningKeys.retire`."""
    require_administrator(context, principal)
    return await context.signing.retire(kid, force=force)
