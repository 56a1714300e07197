"""Secrets that are kept by a name of their own, for builds: written by admins, listed by members, read by nobody."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from homeport.app.context import Context
from homeport.build.credentials import place_of
from homeport.build.registries import registry_of
from homeport.core.errors import Conflict, Invalid, NotFound
from homeport.core.ids import check_name
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.sealing.keys import PLAIN_BYTES
from homeport.store.contract import Transaction
from homeport.store.records import StoredSecret

SECRETS_MOST = 1000  # of one workspace: each is a credential that somebody looks after
WRITING = "admin"
READING = "workspaces:get"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretIntent:
    """What shall be stored: one text, or several by keys; `host` as in `Credential`."""

    value: str | None = field(default=None, repr=False)
    data: Mapping[str, str] | None = field(default=None, repr=False)
    host: str | None = None


async def put_secret(context: Context, principal: Principal, name: str, intent: SecretIntent) -> StoredSecret:
    """Store or replace a secret. Builds under way keep what they have; the next one takes the new value."""
    require(principal, WRITING)
    check_name(name, "name")
    plain = _plain(intent)
    return await context.store.write(lambda tx: keep_secret(context, tx, principal, name, plain))


async def list_secrets(context: Context, principal: Principal) -> list[StoredSecret]:
    """Every secret of the workspace, by name; values stay sealed."""
    require(principal, READING)
    found = await context.store.read(lambda tx: tx.secrets.of(principal.workspace))
    return [secret for secret in found if registry_of(secret) is None]


async def get_secret(context: Context, principal: Principal, name: str) -> StoredSecret:
    """What is known of one, its value sealed. Raises `NotFound`."""
    require(principal, READING)
    return await context.store.read(lambda tx: _fetch(tx, principal, name))


async def delete_secret(context: Context, principal: Principal, name: str) -> StoredSecret:
    """Remove a secret, in use or not; a build that still needs it fails and says who deleted it and when."""
    require(principal, WRITING)

    def write(tx: Transaction) -> StoredSecret:
        stored = _fetch(tx, principal, name)
        forget_secret(context, tx, principal, stored)
        return stored

    return await context.store.write(write)


def keep_secret(context: Context, tx: Transaction, principal: Principal, name: str, plain: str) -> StoredSecret:
    """Seal `plain` and store it under `name`, in place of what was there. Raises `Conflict` at the most."""
    stored = tx.secrets.get(principal.workspace, name)
    living = stored is not None and not stored.deleted
    if not living and len(tx.secrets.of(principal.workspace)) >= SECRETS_MOST:
        raise Conflict(f"The workspace has {SECRETS_MOST} secrets, the most there may be.", hint="Delete some.")
    who, now = _who(tx, principal), context.clock.now()
    secret = StoredSecret(
        workspace=principal.workspace,
        name=name,
        token=None,
        created_at=stored.created_at if stored and living else now,
        created_by=stored.created_by if stored and living else who,
        updated_at=now,
        updated_by=who,
    )
    secret = replace(secret, token=context.sealing.seal(plain, place_of(secret)))
    tx.secrets.put(secret)
    return secret


def forget_secret(context: Context, tx: Transaction, principal: Principal, stored: StoredSecret) -> None:
    """Remove its value; who did it and when stays."""
    tx.secrets.put(replace(stored, token=None, updated_at=context.clock.now(), updated_by=_who(tx, principal)))


def _fetch(tx: Transaction, principal: Principal, name: str) -> StoredSecret:
    stored = tx.secrets.get(principal.workspace, name)
    if stored is None or stored.deleted or registry_of(stored) is not None:
        raise NotFound(f"There is no secret {name!r} in workspace {principal.workspace!r}.")
    return stored


def _plain(intent: SecretIntent) -> str:
    content = {"value": intent.value} if intent.value is not None else {"data": dict(intent.data or {})}
    plain = json.dumps(content if intent.host is None else {**content, "host": intent.host.lower()})
    if len(plain) > PLAIN_BYTES:
        raise Invalid("value" if intent.value is not None else "data", f"must have at most {PLAIN_BYTES} bytes as JSON")
    return plain


def _who(tx: Transaction, principal: Principal) -> str:
    account = tx.identities.account(principal.sub)
    return f"{account.name} ({principal.sub})" if account else principal.sub
