"""Service accounts and their API keys. A program's own account is none of them: it comes and goes with its workload.

Secrets are told once and not stored (`homeport.app.authentication`); what is kept names a key and revokes it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from homeport.app.authentication import account_secret
from homeport.app.context import Context
from homeport.core.errors import Conflict, Invalid, NotFound
from homeport.core.ids import new_id, new_key_id
from homeport.core.spec import parse_duration
from homeport.identity.keys import GATEWAY_AUDIENCE, Claims
from homeport.identity.principals import Principal, Role
from homeport.identity.roles import require, scopes_of
from homeport.store.contract import Transaction
from homeport.store.records import ApiKey, ServiceAccount
from homeport.store.revocation import end_account

KEY_AGE_S = 10 * 365 * 86400  # public contract: ten years at most


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountIntent:
    """What a caller sets of a service account; None leaves it as it is."""

    name: str | None = None
    description: str | None = None
    role: Role | None = None


async def list_accounts(context: Context, principal: Principal) -> list[ServiceAccount]:
    require(principal, "workspaces:get")
    accounts = await context.store.read(lambda tx: tx.identities.accounts(principal.workspace))
    return [account for account in accounts if account.owner_uid is None]


async def create_account(
    context: Context, principal: Principal, name: str, intent: AccountIntent
) -> tuple[ServiceAccount, str]:
    """A new account, a member unless the intent says otherwise, and its secret, which is told this once."""
    role = intent.role or Role.MEMBER
    _require_change(principal, role)
    now = context.clock.now()
    account = ServiceAccount(
        client_id=new_id("sa", 16),
        workspace=principal.workspace,
        name=name,
        description=intent.description or "",
        role=role,
        owner_uid=None,
        created_at=now,
        updated_at=now,
    )
    await context.store.write(lambda tx: tx.identities.add_account(account))
    return account, account_secret(context, account.client_id)


async def update_account(
    context: Context, principal: Principal, client_id: str, intent: AccountIntent
) -> ServiceAccount:
    """Change name, description or role; the role acts with the next request of each of its keys. Raises `Conflict`
    when the workspace would be left without an admin."""
    _require_change(principal, intent.role)

    def write(tx: Transaction) -> ServiceAccount:
        stored = _fetch(tx, principal, client_id)
        account = replace(
            stored,
            name=stored.name if intent.name is None else intent.name,
            description=stored.description if intent.description is None else intent.description,
            role=intent.role or stored.role,
            updated_at=context.clock.now(),
        )
        if account.role is not Role.ADMIN:
            _keep_an_admin(tx, stored)
        tx.identities.replace_account(account)
        return account

    return await context.store.write(write)


async def delete_account(context: Context, principal: Principal, client_id: str) -> ServiceAccount:
    """Remove an account; its keys, its secret and its access tokens end with it. Raises `Conflict` for the last admin
    of the workspace."""
    require(principal, "workspaces:update")

    def write(tx: Transaction) -> ServiceAccount:
        account = _fetch(tx, principal, client_id)
        _keep_an_admin(tx, account)
        end_account(tx, account, context.clock.now())
        return account

    account = await context.store.write(write)
    context.signals.rollouts.wake()  # which tells the gateway
    return account


async def list_keys(context: Context, principal: Principal, client_id: str) -> list[ApiKey]:
    """Keys that are not revoked, oldest first."""
    require(principal, "apiKey:list")

    def read(tx: Transaction) -> list[ApiKey]:
        return [key for key in tx.identities.keys(_fetch(tx, principal, client_id).client_id) if key.revoked_at is None]

    return await context.store.read(read)


async def create_key(
    context: Context, principal: Principal, client_id: str, name: str, expires_in: str | None
) -> tuple[ApiKey, str]:
    """A new key and its value, which is told this once. It is narrowed to what the caller's own key is narrowed to: no
    key makes a wider one."""
    require(principal, "apiKey:write")
    now = context.clock.now()
    expires_at = None if expires_in is None else now + timedelta(seconds=_lifetime_s(expires_in))

    def write(tx: Transaction) -> ApiKey:
        account = _fetch(tx, principal, client_id)
        key = ApiKey(
            jti=new_key_id(),
            client_id=account.client_id,
            workspace=account.workspace,
            name=name,
            created_at=now,
            created_by=principal.sub,
            expires_at=expires_at,
            revoked_at=None,
        )
        tx.identities.add_key(key)
        return key

    key = await context.store.write(write)
    claims = Claims(
        sub=key.client_id,
        jti=key.jti,
        workspace=key.workspace,
        scopes=principal.scopes,
        issued_at=now,
        expires_at=expires_at,
    )
    return key, context.keys.sign(claims, GATEWAY_AUDIENCE)


async def revoke_key(context: Context, principal: Principal, client_id: str, key_id: str) -> None:
    """End a key at once. Raises `NotFound` for one that this account does not have, or has no more."""
    require(principal, "apiKey:write")

    def write(tx: Transaction) -> None:
        account, key = _fetch(tx, principal, client_id), tx.identities.key(key_id)
        if key is None or key.client_id != account.client_id or key.revoked_at is not None:
            raise NotFound(f"The service account {client_id!r} has no key {key_id!r}.")
        tx.identities.revoke_key(key_id, context.clock.now())

    await context.store.write(write)
    context.signals.rollouts.wake()


def _require_change(principal: Principal, role: Role | None) -> None:
    """To give a role takes all that it may do: a key narrowed to accounts could else make itself a wider one."""
    require(principal, "workspaces:update")
    for scope in sorted(scopes_of(role)) if role else ():
        require(principal, scope)


def _fetch(tx: Transaction, principal: Principal, client_id: str) -> ServiceAccount:
    account = tx.identities.account(client_id)
    if account is None or account.workspace != principal.workspace or account.owner_uid is not None:
        raise NotFound(f"There is no service account {client_id!r} in workspace {principal.workspace!r}.")
    return account


def _keep_an_admin(tx: Transaction, leaving: ServiceAccount) -> None:
    admins = {known.client_id for known in tx.identities.accounts(leaving.workspace) if known.role is Role.ADMIN}
    if admins == {leaving.client_id}:
        raise Conflict(
            f"{leaving.name!r} is the last admin of workspace {leaving.workspace!r}.", hint="Make another one first."
        )


def _lifetime_s(expires_in: str) -> int:
    seconds = parse_duration(expires_in, "expires_in")
    if not 0 < seconds <= KEY_AGE_S:
        raise Invalid("expires_in", "must be more than nothing and at most ten years (3650d)", value=expires_in)
    return seconds
