"""The registry logins of a workspace, which are stored secrets of a name that no other secret can have. Called where an
image is pulled; the use cases of `homeport.app.registries` store and list them."""

import json

from homeport.build.credentials import place_of
from homeport.core.logins import Login, Logins
from homeport.sealing.keys import SealingKeys
from homeport.store.contract import Transaction
from homeport.store.records import StoredSecret

PREFIX = "registry:"  # a colon is in no name of a secret


def registry_of(secret: StoredSecret) -> str | None:
    """The registry that a stored secret is the login of; None for any other secret."""
    return secret.name.removeprefix(PREFIX) if secret.name.startswith(PREFIX) else None


def open_fields(keys: SealingKeys, secret: StoredSecret) -> dict[str, str]:
    """The login itself, as `homeport.core.logins.Login` has it."""
    fields: dict[str, str] = json.loads(keys.open(secret.token or "", place_of(secret)))
    return fields


def open_logins(tx: Transaction, keys: SealingKeys, workspace: str) -> Logins:
    """Every login of the workspace, in plain."""
    named = ((registry_of(secret), secret) for secret in tx.secrets.of(workspace))
    source = "the workspace's stored logins"
    return Logins({host: Login(source=source, fields=open_fields(keys, one)) for host, one in named if host})
