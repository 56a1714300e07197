"""Logins of registries at rest. Called where an image is pulled, and by the use cases that store and list them.

Those of a workspace are stored secrets of a name that no other secret can have; those that came in an upload are kept
with its revisions, as the text that they came in.
"""

import json

from homeport.build.archive_logins import NAME
from homeport.build.credentials import place_of
from homeport.core.logins import Login, Logins, parse_docker_config
from homeport.sealing.keys import Place, SealingKeys
from homeport.store.contract import Transaction
from homeport.store.records import Revision, StoredSecret

SOURCE = f"{NAME} in the upload"
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


def seal_uploaded(keys: SealingKeys, revision: Revision, text: str) -> str:
    """The text of `.docker/config.json` for the revision that it came with, and later ones of the same source."""
    return keys.seal(text, _place(revision))


def reseal_logins(keys: SealingKeys, revision: Revision) -> str:
    return keys.reseal(revision.source_logins or "", _place(revision))


def open_uploaded(keys: SealingKeys, revision: Revision) -> Logins:
    """What came in the upload that the revision is made from."""
    if revision.source_logins is None:
        return Logins()
    return parse_docker_config(keys.open(revision.source_logins, _place(revision)), NAME, SOURCE)


def _place(revision: Revision) -> Place:
    return Place(revision.workspace, revision.resource_uid, NAME)
