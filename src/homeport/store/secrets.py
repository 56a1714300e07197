"""Stored secrets in SQL. Keeps `contract.Secrets`; sees sealed values only."""

from collections.abc import Callable

from sqlalchemy import Connection, Select, delete, insert, select, update

from homeport.store.records import StoredSecret
from homeport.store.rows import MOMENT, Codec
from homeport.store.sealed import Sealed, narrowed
from homeport.store.tables import stored_secrets

_SECRET = Codec(StoredSecret, stored_secrets, "name", created_at=MOMENT, updated_at=MOMENT)


class SqlSecrets:
    """See `contract.Secrets`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, secret: StoredSecret, keep: int = 1000) -> None:
        table = stored_secrets.c
        self._connection.execute(
            delete(stored_secrets).where(table.workspace == secret.workspace, table.name == secret.name)
        )
        self._connection.execute(insert(stored_secrets).values(_SECRET.values(secret)))
        deleted = (table.workspace == secret.workspace, table.token.is_(None))
        newest_first = select(table.updated_at).where(*deleted).order_by(table.updated_at.desc())
        oldest_kept = newest_first.offset(keep - 1).limit(1).scalar_subquery()
        self._connection.execute(delete(stored_secrets).where(*deleted, table.updated_at < oldest_kept))

    def get(self, workspace: str, name: str) -> StoredSecret | None:
        mine = (stored_secrets.c.workspace == workspace, stored_secrets.c.name == name)
        found = self._all(select(*_SECRET.columns).where(*mine))
        return found[0] if found else None

    def of(self, workspace: str) -> list[StoredSecret]:
        mine = (stored_secrets.c.workspace == workspace, stored_secrets.c.token.is_not(None))
        return self._all(select(*_SECRET.columns).where(*mine).order_by(stored_secrets.c.name))

    def rewrite_tokens(self, change: Callable[[StoredSecret], str], only: Sealed | None = None) -> int:
        having = select(*_SECRET.columns).where(stored_secrets.c.token.is_not(None))
        found = self._all(narrowed(having, only, stored_secrets.c.token))
        for secret in found:
            mine = (stored_secrets.c.workspace == secret.workspace, stored_secrets.c.name == secret.name)
            self._connection.execute(update(stored_secrets).where(*mine).values(token=change(secret)))
        return len(found)

    def _all(self, chosen: Select[tuple[object, ...]]) -> list[StoredSecret]:
        return [_SECRET.record(row) for row in self._connection.execute(chosen).mappings()]
