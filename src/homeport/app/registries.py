"""The registry logins of a workspace: written by admins, listed by members, their passwords read by nobody."""

import json
from dataclasses import dataclass, field

from homeport.app.context import Context
from homeport.app.stored_secrets import READING, WRITING, forget_secret, keep_secret
from homeport.build.registries import PREFIX, open_fields, registry_of
from homeport.core.errors import Invalid, NotFound
from homeport.core.logins import registry_host
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import StoredSecret

_FIELD = "registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLogin:
    """What may be shown of a login."""

    registry: str
    username: str
    secret: StoredSecret = field(repr=False)


async def put_login(context: Context, principal: Principal, name: str, username: str, password: str) -> RegistryLogin:
    """Store or replace the login for the registry `name`. Pulls from then on use it, those of older revisions, too."""
    require(principal, WRITING)
    host = _host(name)
    plain = json.dumps({"username": username, "password": password})
    stored = await context.store.write(lambda tx: keep_secret(context, tx, principal, f"{PREFIX}{host}", plain))
    return RegistryLogin(registry=host, username=username, secret=stored)


async def list_logins(context: Context, principal: Principal) -> list[RegistryLogin]:
    """Every login of the workspace, by registry."""
    require(principal, READING)
    return await context.store.read(lambda tx: _all(context, tx, principal))


async def get_login(context: Context, principal: Principal, name: str) -> RegistryLogin:
    """Raises `NotFound`."""
    host = _host(name)
    return _one(await list_logins(context, principal), host)


async def delete_login(context: Context, principal: Principal, name: str) -> RegistryLogin:
    """Forget the login for the registry `name`; a pull that still needs it fails. Raises `NotFound`."""
    require(principal, WRITING)
    host = _host(name)

    def write(tx: Transaction) -> RegistryLogin:
        found = _one(_all(context, tx, principal), host)
        forget_secret(context, tx, principal, found.secret)
        return found

    return await context.store.write(write)


def _host(name: str) -> str:
    host = registry_host(name)
    if host is None:
        raise Invalid(_FIELD, "must be the host of a registry, such as ghcr.io or 127.0.0.1:5000", value=name)
    return host


def _all(context: Context, tx: Transaction, principal: Principal) -> list[RegistryLogin]:
    stored = ((registry_of(secret), secret) for secret in tx.secrets.of(principal.workspace))
    return [
        RegistryLogin(registry=host, username=open_fields(context.sealing, secret)["username"], secret=secret)
        for host, secret in stored
        if host
    ]


def _one(logins: list[RegistryLogin], host: str) -> RegistryLogin:
    found = next((login for login in logins if login.registry == host), None)
    if found is None:
        raise NotFound(f"The workspace has no login for {host}.", hint="`homeport registry list` shows what it has.")
    return found
