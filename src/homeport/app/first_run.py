"""The first start: a workspace and the administrator's key, once. Safe to be killed between the two: the next start
completes what is missing."""

from homeport.app.authentication import ALL_SCOPES
from homeport.app.context import Context
from homeport.core.errors import StoreUnavailable
from homeport.core.ids import DEFAULT_WORKSPACE, new_id, new_key_id
from homeport.core.private import remove_drafts, write_once
from homeport.identity.keys import GATEWAY_AUDIENCE, Claims
from homeport.identity.principals import Role
from homeport.reconcile.signing import renew_admin_key
from homeport.settings import DataDir
from homeport.store.contract import Transaction
from homeport.store.records import ApiKey, ServiceAccount, Workspace


def refuse_lost_parts(data: DataDir) -> None:
    """Raises `StoreUnavailable` where this is not the first start, since the administrator's key is there, and what was
    made before that key is not: a new one in its place would hide that everything is lost."""
    if not data.admin_key.exists():
        return
    for path, loss in ((data.database, "everything that was stored"), (data.signing_key, "every key ever given out")):
        if not path.exists():
            raise StoreUnavailable(
                f"{path} is missing, and with it {loss}; {data.admin_key} shows that it was there.",
                hint=f"Put back a backup of {data.root}, or begin anew in another directory (--data).",
            )


async def ensure_first_run(context: Context) -> None:
    """Make the default workspace, the administrator's account and `DATA/admin-key` where they are missing."""
    for path in (context.data.admin_key, context.data.signing_key, context.data.sealing_key):
        remove_drafts(path)
    if context.data.admin_key.exists():
        renew_admin_key(context.keys, context.data.admin_key, context.clock.now())  # a rotation may have been killed
        return
    now = context.clock.now()

    def write(tx: Transaction) -> Claims:
        if tx.identities.workspace(DEFAULT_WORKSPACE) is None:
            tx.identities.add_workspace(
                Workspace(name=DEFAULT_WORKSPACE, display_name="Default", created_at=now, created_by="homeport")
            )
        admins = [known for known in tx.identities.accounts(DEFAULT_WORKSPACE) if known.role is Role.ADMIN]
        account = admins[0] if admins else _admin(tx, context)
        claims = Claims(
            sub=account.client_id,
            jti=new_key_id(),
            workspace=DEFAULT_WORKSPACE,
            scopes=ALL_SCOPES,
            issued_at=now,
            expires_at=None,
        )
        tx.identities.add_key(
            ApiKey(
                jti=claims.jti,
                client_id=account.client_id,
                workspace=DEFAULT_WORKSPACE,
                name="first-run key",
                created_at=now,
                created_by="homeport",
                expires_at=None,
                revoked_at=None,
            )
        )
        return claims

    claims = await context.store.write(write)
    write_once(context.data.admin_key, f"{context.keys.sign(claims, GATEWAY_AUDIENCE)}\n".encode())


def _admin(tx: Transaction, context: Context) -> ServiceAccount:
    now = context.clock.now()
    account = ServiceAccount(
        client_id=new_id("sa", 16),
        workspace=DEFAULT_WORKSPACE,
        name="admin",
        description="The operator of this installation",
        role=Role.ADMIN,
        owner_uid=None,
        created_at=now,
        updated_at=now,
    )
    tx.identities.add_account(account)
    return account
