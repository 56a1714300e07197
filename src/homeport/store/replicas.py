"""The copies of agents in SQL. Keeps `contract.Replicas`; starts and stops nothing."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from homeport.core.ids import ReplicaId, UnitId
from homeport.store.records import Replica
from homeport.store.rows import MOMENT, Codec, conflict, maybe, named, portions
from homeport.store.tables import replicas
from homeport.workloads.states import ReplicaState

_REPLICA = Codec(
    Replica,
    replicas,
    "id",
    state=named(ReplicaState),
    created_at=MOMENT,
    ready_at=maybe(MOMENT),
    changed_at=MOMENT,
)
_OLDEST_FIRST = (replicas.c.created_at, replicas.c.ordinal, replicas.c.id)
# The loops ask these on every pass: built once.
_EVERY = select(replicas).order_by(*_OLDEST_FIRST)
_OF_EACH = (
    select(replicas).where(replicas.c.resource_uid.in_(bindparam("uids", expanding=True))).order_by(*_OLDEST_FIRST)
)
_OF = select(replicas).where(replicas.c.resource_uid == bindparam("uid")).order_by(*_OLDEST_FIRST)


class SqlReplicas:
    """See `contract.Replicas`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, replica: Replica) -> None:
        with conflict(f"The replica {replica.id!r} or its unit exists already, or its agent is gone."):
            self._connection.execute(insert(replicas).values(_REPLICA.values(replica)))

    def get(self, replica_id: ReplicaId) -> Replica | None:
        row = self._connection.execute(select(replicas).where(replicas.c.id == replica_id)).mappings().first()
        return None if row is None else _REPLICA.record(row)

    def by_unit(self, unit: UnitId) -> Replica | None:
        row = self._connection.execute(select(replicas).where(replicas.c.unit == unit)).mappings().first()
        return None if row is None else _REPLICA.record(row)

    def every(self) -> list[Replica]:
        return [_REPLICA.record(row) for row in self._connection.execute(_EVERY).mappings()]

    def of(self, resource_uid: str) -> list[Replica]:
        return [_REPLICA.record(row) for row in self._connection.execute(_OF, {"uid": resource_uid}).mappings()]

    def of_each(self, resource_uids: Sequence[str]) -> dict[str, list[Replica]]:
        found: dict[str, list[Replica]] = {uid: [] for uid in resource_uids}
        for some in portions(resource_uids):
            for row in self._connection.execute(_OF_EACH, {"uids": some}).mappings():
                found[row["resource_uid"]].append(_REPLICA.record(row))
        return found

    def ports(self) -> set[int]:
        return {*self._connection.scalars(select(replicas.c.port))}

    def replace(self, replica: Replica) -> bool:
        values = _REPLICA.values(replica)
        del values["id"]
        stored = update(replicas).where(replicas.c.id == replica.id).values(values)
        with conflict(f"The unit {replica.unit!r} stands for another replica already."):
            return self._connection.execute(stored).rowcount == 1

    def delete(self, replica_id: ReplicaId) -> None:
        self._connection.execute(delete(replicas).where(replicas.c.id == replica_id))
