"""Workspaces, service accounts and keys in SQL. Keeps `contract.Identities`; checks no credential itself."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from homeport.store.records import ApiKey, Role, ServiceAccount, Workspace
from homeport.store.rows import MOMENT, Codec, conflict, maybe, micros, named
from homeport.store.tables import accounts, keys, workspaces

_WORKSPACE = Codec(Workspace, workspaces, "name", created_at=MOMENT)
_ACCOUNT = Codec(ServiceAccount, accounts, "client_id", role=named(Role), created_at=MOMENT, updated_at=MOMENT)
_KEY = Codec(ApiKey, keys, "jti", created_at=MOMENT, expires_at=maybe(MOMENT), revoked_at=maybe(MOMENT))

# Asked at every start of a unit, and on every pass of the rollouts: built once.
_ACCOUNT_OF = select(accounts).where(accounts.c.owner_uid == bindparam("uid"))
_ALIVE = or_(keys.c.expires_at.is_(None), keys.c.expires_at > bindparam("now"))
_REVOKED = select(keys.c.jti).where(keys.c.revoked_at.is_not(None), _ALIVE).order_by(keys.c.jti)


class SqlIdentities:
    """See `contract.Identities`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_workspace(self, workspace: Workspace) -> None:
        with conflict(f"The workspace {workspace.name!r} exists already."):
            self._connection.execute(insert(workspaces).values(_WORKSPACE.values(workspace)))

    def workspace(self, name: str) -> Workspace | None:
        row = self._connection.execute(select(workspaces).where(workspaces.c.name == name)).mappings().first()
        return None if row is None else _WORKSPACE.record(row)

    def workspaces(self) -> list[Workspace]:
        rows = self._connection.execute(select(workspaces).order_by(workspaces.c.created_at, workspaces.c.name))
        return [_WORKSPACE.record(row) for row in rows.mappings()]

    def add_account(self, account: ServiceAccount) -> None:
        with conflict(f"The service account {account.client_id!r}, or another one of its workload, exists already."):
            self._connection.execute(insert(accounts).values(_ACCOUNT.values(account)))

    def replace_account(self, account: ServiceAccount) -> bool:
        written = _ACCOUNT.values(account)
        values = {name: written[name] for name in ("name", "description", "role", "updated_at")}
        stored = update(accounts).where(accounts.c.client_id == account.client_id)
        return self._connection.execute(stored.values(values)).rowcount == 1

    def account(self, client_id: str) -> ServiceAccount | None:
        row = self._connection.execute(select(accounts).where(accounts.c.client_id == client_id)).mappings().first()
        return None if row is None else _ACCOUNT.record(row)

    def accounts(self, workspace: str) -> list[ServiceAccount]:
        mine = select(accounts).where(accounts.c.workspace == workspace)
        rows = self._connection.execute(mine.order_by(accounts.c.created_at, accounts.c.client_id))
        return [_ACCOUNT.record(row) for row in rows.mappings()]

    def account_of(self, owner_uid: str) -> ServiceAccount | None:
        row = self._connection.execute(_ACCOUNT_OF, {"uid": owner_uid}).mappings().first()
        return None if row is None else _ACCOUNT.record(row)

    def remove_account(self, client_id: str, now: datetime) -> None:
        valid = update(keys).where(keys.c.client_id == client_id, keys.c.revoked_at.is_(None))
        self._connection.execute(valid.values(revoked_at=micros(now)))
        self._connection.execute(delete(accounts).where(accounts.c.client_id == client_id))

    def add_key(self, key: ApiKey) -> None:
        with conflict(f"The key {key.jti!r} exists already."):
            self._connection.execute(insert(keys).values(_KEY.values(key)))

    def key(self, jti: str) -> ApiKey | None:
        row = self._connection.execute(select(keys).where(keys.c.jti == jti)).mappings().first()
        return None if row is None else _KEY.record(row)

    def keys(self, client_id: str) -> list[ApiKey]:
        mine = select(keys).where(keys.c.client_id == client_id).order_by(keys.c.created_at, keys.c.jti)
        return [_KEY.record(row) for row in self._connection.execute(mine).mappings()]

    def revoke_key(self, jti: str, now: datetime) -> bool:
        valid = update(keys).where(keys.c.jti == jti, keys.c.revoked_at.is_(None))
        return self._connection.execute(valid.values(revoked_at=micros(now))).rowcount == 1

    def revoked_keys(self, now: datetime) -> list[str]:
        return [*self._connection.scalars(_REVOKED, {"now": micros(now)})]

    def prune_keys(self, now: datetime) -> int:
        ended = delete(keys).where(keys.c.revoked_at.is_not(None), keys.c.expires_at <= micros(now))
        return self._connection.execute(ended).rowcount
