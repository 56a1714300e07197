"""Opens a stored secret for a build, such as the credential of a repository. Called where a build needs it; the use
cases of `homeport.app.stored_secrets` store and list them and open none."""

import json
from dataclasses import dataclass, field

from homeport.core.clock import timestamp
from homeport.core.errors import Invalid
from homeport.sealing.keys import Place, SealingKeys
from homeport.store.contract import Transaction
from homeport.store.records import StoredSecret

OWNER = "secrets"  # no workload's uid: those have a prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What was stored under a name: one text, or several by keys. host: the only one that it is sent to; None for
    whichever a specification names."""

    value: str | None = field(default=None, repr=False)
    data: dict[str, str] = field(default_factory=dict, repr=False)
    host: str | None = None


def place_of(secret: StoredSecret) -> Place:
    """Where the value of a stored secret belongs."""
    return Place(secret.workspace, OWNER, secret.name)


def open_secret(tx: Transaction, keys: SealingKeys, workspace: str, name: str, at: str) -> Credential:
    """The stored secret `name` in plain; `at` is the field that names it. Raises `Invalid` when there is none, saying
    who deleted it and when if that is so."""
    secret = _find(tx, workspace, name, at)
    stored = json.loads(keys.open(secret.token or "", place_of(secret)))
    return Credential(value=stored.get("value"), data=stored.get("data") or {}, host=stored.get("host"))


def check_host(credential: Credential, name: str, host: str, at: str) -> None:
    """Raise `Invalid` where the secret `name` is kept for another host than `host` (with its port, as addresses have
    it): whoever may deploy could else send it to a server of their own."""
    if credential.host is not None and credential.host != host.lower():
        raise Invalid(at, f"names the secret {name!r}, which is for {credential.host} only; this address is at {host}")


def _find(tx: Transaction, workspace: str, name: str, at: str) -> StoredSecret:
    secret = tx.secrets.get(workspace, name)
    if secret is not None and not secret.deleted:
        return secret
    why = f"was deleted by {secret.updated_by} on {timestamp(secret.updated_at)}" if secret else "does not exist"
    raise Invalid(
        at,
        f"names the secret {name!r}, which {why}",
        hint=f"Store it: homeport secrets set {name}",
    )
