"""The versions of workloads in SQL. Keeps `contract.Revisions`; knows no rule of rollouts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, union, update

from homeport.core.ids import Kind, RevisionId
from homeport.store.records import Revision
from homeport.store.rows import LIST, MOMENT, OBJECT, Codec, conflict, dump, named, portions
from homeport.store.sealed import Sealed, narrowed
from homeport.store.tables import revisions
from homeport.workloads.states import RevisionState

_REVISION = Codec(
    Revision,
    revisions,
    "id",
    kind=named(Kind),
    state=named(RevisionState),
    spec=OBJECT,
    entrypoint=LIST,
    created_at=MOMENT,
    updated_at=MOMENT,
)
_NEWEST_FIRST = (revisions.c.generation.desc(), revisions.c.created_at.desc(), revisions.c.id)
# The loops ask these on every pass: built once.
_OF = select(revisions).where(revisions.c.resource_uid == bindparam("uid")).order_by(*_NEWEST_FIRST)
_OF_EACH = (
    select(revisions).where(revisions.c.resource_uid.in_(bindparam("uids", expanding=True))).order_by(*_NEWEST_FIRST)
)
_IN_STATES = (
    select(revisions)
    .where(revisions.c.state.in_(bindparam("states", expanding=True)))
    .order_by(revisions.c.created_at, revisions.c.id)
)
_CHANGING = (
    "state",
    "region",
    "flavor",
    "source_digest",
    "source_commit",
    "source_logins",
    "bundle_digest",
    "entrypoint",
    "message",
    "updated_at",
)


class SqlRevisions:
    """See `contract.Revisions`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, revision: Revision) -> None:
        message = f"The revision {revision.id!r} exists already, or its {revision.kind} {revision.name!r} is gone."
        with conflict(message):
            self._connection.execute(insert(revisions).values(_REVISION.values(revision)))

    def get(self, revision_id: RevisionId) -> Revision | None:
        row = self._connection.execute(select(revisions).where(revisions.c.id == revision_id)).mappings().first()
        return None if row is None else _REVISION.record(row)

    def of(self, resource_uid: str) -> list[Revision]:
        return [_REVISION.record(row) for row in self._connection.execute(_OF, {"uid": resource_uid}).mappings()]

    def of_each(self, resource_uids: Sequence[str]) -> dict[str, list[Revision]]:
        found: dict[str, list[Revision]] = {uid: [] for uid in resource_uids}
        for some in portions(resource_uids):
            for row in self._connection.execute(_OF_EACH, {"uids": some}).mappings():
                found[row["resource_uid"]].append(_REVISION.record(row))
        return found

    def digests(self) -> set[str]:
        columns = (revisions.c.source_digest, revisions.c.bundle_digest)
        chosen = union(*(select(column).where(column.is_not(None)) for column in columns))
        return {*self._connection.scalars(chosen)}

    def in_states(self, states: Iterable[RevisionState]) -> list[Revision]:
        asked = {"states": sorted(state.value for state in states)}
        return [_REVISION.record(row) for row in self._connection.execute(_IN_STATES, asked).mappings()]

    def built_as(self, workspace: str, digests: Iterable[str]) -> list[Revision]:
        mine = (revisions.c.workspace == workspace, revisions.c.bundle_digest.in_([*digests]))
        found = self._connection.execute(select(revisions).where(*mine).order_by(*_NEWEST_FIRST))
        return [_REVISION.record(row) for row in found.mappings()]

    def replace_if_state(self, revision: Revision, expected: RevisionState) -> bool:
        values = _REVISION.values(revision)
        stored = update(revisions).where(revisions.c.id == revision.id, revisions.c.state == expected.value)
        changed = stored.values({name: values[name] for name in _CHANGING})
        return self._connection.execute(changed).rowcount == 1

    def rewrite_specs(self, change: Callable[[Revision], dict[str, Any]], only: Sealed | None = None) -> int:
        changed = 0
        chosen = narrowed(select(revisions.c.id), only, revisions.c.spec)
        for ident in self._connection.scalars(chosen).all():
            revision = self.get(ident)
            if revision is not None and (spec := change(revision)) != revision.spec:
                written = update(revisions).where(revisions.c.id == ident)
                self._connection.execute(written.values(spec=dump(spec)))
                changed += 1
        return changed

    def rewrite_logins(self, change: Callable[[Revision], str], only: Sealed | None = None) -> int:
        having = select(revisions.c.id).where(revisions.c.source_logins.is_not(None))
        found = self._connection.scalars(narrowed(having, only, revisions.c.source_logins)).all()
        for revision in filter(None, map(self.get, found)):
            written = update(revisions).where(revisions.c.id == revision.id)
            self._connection.execute(written.values(source_logins=change(revision)))
        return len(found)

    def delete(self, revision_id: RevisionId) -> None:
        self._connection.execute(delete(revisions).where(revisions.c.id == revision_id))
