"""The first start: a workspace and the administrator's key, once. Safe to be killed between the two: the next start
completes what is missing."""

import os
from pathlib import Path

from homeport.app.authentication import ALL_SCOPES
from homeport.app.context import Context
from homeport.core.ids import new_id, new_key_id
from homeport.identity.keys import GATEWAY_AUDIENCE, Claims
from homeport.identity.principals import Role
from homeport.store.contract import Transaction
from homeport.store.records import ApiKey, ServiceAccount, Workspace

DEFAULT_WORKSPACE = "default"


async def ensure_first_run(context: Context) -> None:
    """Make the default workspace, the administrator's account and `DATA/admin-key` where they are missing."""
    if context.data.admin_key.exists():
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
    _write_private(context.data.admin_key, context.keys.sign(claims, GATEWAY_AUDIENCE) + "\n")


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


def _write_private(path: Path, text: str) -> None:
    """Write with mode 600 from the first byte on, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
