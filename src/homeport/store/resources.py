"""Policies and workloads in SQL. Keeps `contract.Resources`; decides nothing about what a spec means."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    union,
    update,
)

from homeport.core.ids import Kind
from homeport.store.pages import Keyset
from homeport.store.records import ListQuery, Resource, ResourcePage
from homeport.store.rows import MOMENT, OBJECT, Codec, Form, conflict, dump, maybe, named, portions
from homeport.store.sealed import Sealed, narrowed
from homeport.store.tables import replicas, resource_policies, resources, revisions, unsettled_resources
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Traffic

_TRAFFIC = Form(lambda traffic: dump(traffic.to_json()), lambda text: Traffic.from_json(OBJECT.read(text)))
_RESOURCE = Codec(
    Resource,
    resources,
    "uid",
    kind=named(Kind),
    labels=OBJECT,
    spec=OBJECT,
    status=maybe(named(WorkloadStatus)),
    created_at=MOMENT,
    updated_at=MOMENT,
    traffic=_TRAFFIC,
)
_FIXED = ("uid", "workspace", "kind", "name", "created_at", "created_by", "traffic")
_ORDERS = {
    "createdAt:desc": Keyset(resources.c.created_at, resources.c.uid, descending=True),
    "createdAt:asc": Keyset(resources.c.created_at, resources.c.uid, descending=False),
    "name:asc": Keyset(resources.c.name, resources.c.uid, descending=False),
    "name:desc": Keyset(resources.c.name, resources.c.uid, descending=True),
}
# Its archive or its bundle is awaited, and its status says so: nothing is to be done until the revision moves on.
_AWAITED = and_(
    not_(resources.c.deleting),
    resources.c.status.in_([WorkloadStatus.UPLOADING.value, WorkloadStatus.BUILDING.value]),
    exists().where(
        revisions.c.resource_uid == resources.c.uid,
        revisions.c.generation == resources.c.generation,
        func.upper(revisions.c.state) == resources.c.status,
    ),
)
# The loops ask these on every pass: built once.
_BY_UID = select(*_RESOURCE.columns).where(resources.c.uid == bindparam("uid"))
_OWNER = revisions.c.resource_uid
_MOVING = union(
    select(resources.c.uid).where(resources.c.kind == bindparam("kind"), unsettled_resources, not_(_AWAITED)),
    select(_OWNER).where(
        revisions.c.kind == bindparam("kind"), revisions.c.state.in_(bindparam("states", expanding=True))
    ),
    select(_OWNER).group_by(_OWNER).having(func.count() > bindparam("kept")),
    select(replicas.c.resource_uid).where(replicas.c.state.in_(bindparam("replica_states", expanding=True))),
)
_UNSETTLED = select(*_RESOURCE.columns).where(resources.c.uid.in_(_MOVING))
# Between the parts of the searched text, so that no query matches the end of one and the start of the next.
_BETWEEN = "\x1f"


class SqlResources:
    """See `contract.Resources`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, resource: Resource) -> None:
        taken = f"The {resource.kind} {resource.name!r} exists already in workspace {resource.workspace!r}."
        values = _RESOURCE.values(resource) | {"search": _searched(resource)}
        with conflict(taken, "Update it, or choose another name."):
            self._connection.execute(insert(resources).values(values))
        self._link_policies(resource)

    def get(self, workspace: str, kind: Kind, name: str) -> Resource | None:
        mine = (resources.c.workspace == workspace, resources.c.kind == kind.value, resources.c.name == name)
        return self._one(select(*_RESOURCE.columns).where(*mine))

    def by_uid(self, uid: str) -> Resource | None:
        row = self._connection.execute(_BY_UID, {"uid": uid}).mappings().first()
        return None if row is None else _RESOURCE.record(row)

    def replace(self, resource: Resource, expected_generation: int) -> bool:
        values = {name: value for name, value in _RESOURCE.values(resource).items() if name not in _FIXED}
        stored = update(resources).where(resources.c.uid == resource.uid, resources.c.generation == expected_generation)
        if not self._connection.execute(stored.values(values | {"search": _searched(resource)})).rowcount:
            return False
        self._connection.execute(delete(resource_policies).where(resource_policies.c.resource_uid == resource.uid))
        self._link_policies(resource)
        return True

    def direct(self, uid: str, traffic: Traffic) -> None:
        self._connection.execute(
            update(resources).where(resources.c.uid == uid).values(traffic=dump(traffic.to_json()))
        )

    def delete(self, uid: str) -> None:
        # The tables of revisions, replicas, events and policy links say ON DELETE CASCADE.
        self._connection.execute(delete(resources).where(resources.c.uid == uid))

    def page(self, query: ListQuery) -> ResourcePage:
        mine = (resources.c.workspace == query.workspace, resources.c.kind == query.kind.value)
        total = self.count(query.workspace, query.kind)
        chosen = _filtered(select(*_RESOURCE.columns).where(*mine), query)
        order = _ORDERS[query.sort]
        if query.from_end:
            rows, after = order.last_rows(self._connection, chosen, query.limit), None
        else:
            rows, after = order.rows(self._connection, chosen, query.limit, query.after)
        return ResourcePage(items=[_RESOURCE.record(row) for row in rows], next=after, total=total)

    def rewrite_specs(self, change: Callable[[Resource], dict[str, Any]], only: Sealed | None = None) -> int:
        changed = 0
        chosen = narrowed(select(resources.c.uid), only, resources.c.spec)
        for uid in self._connection.scalars(chosen).all():
            resource = self.by_uid(uid)
            if resource is not None and (spec := change(resource)) != resource.spec:
                written = update(resources).where(resources.c.uid == uid)
                self._connection.execute(written.values(spec=dump(spec)))
                changed += 1
        return changed

    def with_setting(self, kind: Kind, names: Iterable[str]) -> list[Resource]:
        # As `rows.dump` writes the key of an object; in a text the quotes would be escaped.
        named = or_(*(resources.c.spec.contains(f'"{name}":', autoescape=True) for name in names))
        return self._all(select(*_RESOURCE.columns).where(resources.c.kind == kind.value, named))

    def unsettled(
        self,
        kind: Kind,
        states: Iterable[RevisionState],
        replica_states: Iterable[ReplicaState],
        revisions_kept: int,
    ) -> list[Resource]:
        moving = {"states": sorted(states), "replica_states": sorted(replica_states)}
        rows = self._connection.execute(_UNSETTLED, {"kind": kind.value, "kept": revisions_kept, **moving}).mappings()
        mine = [_RESOURCE.record(row) for row in rows if row["kind"] == kind.value]
        return sorted(mine, key=lambda resource: (resource.created_at, resource.uid))

    def by_external_id(self, workspace: str, kind: Kind, external_id: str) -> Resource | None:
        mine = (resources.c.workspace == workspace, resources.c.kind == kind.value, not_(resources.c.deleting))
        chosen = select(*_RESOURCE.columns).where(*mine, resources.c.external_id == external_id)
        return self._one(chosen.order_by(resources.c.created_at.desc(), resources.c.uid.desc()).limit(1))

    def uids(self, kind: Kind) -> list[str]:
        return [*self._connection.scalars(select(resources.c.uid).where(resources.c.kind == kind.value))]

    def count(self, workspace: str, kind: Kind) -> int:
        mine = (resources.c.workspace == workspace, resources.c.kind == kind.value)
        return self._connection.scalar(select(func.count()).select_from(resources).where(*mine)) or 0

    def using_policy(self, workspace: str, policy: str) -> list[Resource]:
        linked = select(resource_policies.c.resource_uid).where(
            resource_policies.c.workspace == workspace, resource_policies.c.policy == policy
        )
        chosen = select(*_RESOURCE.columns).where(resources.c.uid.in_(linked))
        return self._all(chosen.order_by(resources.c.kind, resources.c.name))

    def count_policy_users(self, workspace: str, policies: Sequence[str]) -> dict[str, dict[Kind, int]]:
        counts: dict[str, dict[Kind, int]] = {}
        link = resource_policies.c
        joined = resource_policies.join(resources, resources.c.uid == link.resource_uid)
        for names in portions(policies):
            chosen = select(link.policy, resources.c.kind, func.count()).select_from(joined)
            chosen = chosen.where(link.workspace == workspace, link.policy.in_(names))
            for policy, kind, count in self._connection.execute(chosen.group_by(link.policy, resources.c.kind)):
                counts.setdefault(policy, {})[Kind(kind)] = count
        return counts

    def _link_policies(self, resource: Resource) -> None:
        named_policies = resource.spec.get("policies")
        if not isinstance(named_policies, list):
            return
        names = dict.fromkeys(name for name in named_policies if isinstance(name, str))
        rows = [{"resource_uid": resource.uid, "workspace": resource.workspace, "policy": name} for name in names]
        if rows:
            self._connection.execute(insert(resource_policies), rows)

    def _one(self, chosen: Select[Any]) -> Resource | None:
        row = self._connection.execute(chosen).mappings().first()
        return None if row is None else _RESOURCE.record(row)

    def _all(self, chosen: Select[Any]) -> list[Resource]:
        return [_RESOURCE.record(row) for row in self._connection.execute(chosen).mappings()]


def _filtered(chosen: Select[Any], query: ListQuery) -> Select[Any]:
    if query.q is not None:
        chosen = chosen.where(resources.c.search.contains(query.q, autoescape=True))
    if query.statuses:
        chosen = chosen.where(resources.c.status.in_(sorted(query.statuses)))
    if query.external_id is not None:
        chosen = chosen.where(resources.c.external_id == query.external_id)
    return chosen


def _searched(resource: Resource) -> str:
    parts = [resource.name, resource.display_name or ""]
    for key, value in resource.labels.items():
        parts += [key, value]
    # Text that is not valid Unicode cannot be stored; it cannot be searched for either.
    return _BETWEEN.join(parts).lower().encode(errors="replace").decode()
