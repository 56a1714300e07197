"""The transaction over a SQLAlchemy connection: the same statements for SQLite and PostgreSQL. Made by the stores for
each piece of work; begins and commits nothing itself."""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from homeport.store.events import SqlEvents
from homeport.store.executions import SqlExecutions
from homeport.store.identities import SqlIdentities
from homeport.store.images import SqlImages
from homeport.store.invocations import SqlInvocations
from homeport.store.orphans import orphans
from homeport.store.records import Orphan
from homeport.store.replicas import SqlReplicas
from homeport.store.resources import SqlResources
from homeport.store.revisions import SqlRevisions
from homeport.store.schedules import SqlSchedules
from homeport.store.secrets import SqlSecrets
from homeport.store.tables import notes
from homeport.store.tombstones import SqlTombstones
from homeport.store.volumes import SqlVolumes


class SqlTransaction:
    """See `contract.Transaction`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def identities(self) -> SqlIdentities:
        return SqlIdentities(self._connection)

    @property
    def resources(self) -> SqlResources:
        return SqlResources(self._connection)

    @property
    def tombstones(self) -> SqlTombstones:
        return SqlTombstones(self._connection)

    @property
    def secrets(self) -> SqlSecrets:
        return SqlSecrets(self._connection)

    @property
    def revisions(self) -> SqlRevisions:
        return SqlRevisions(self._connection)

    @property
    def images(self) -> SqlImages:
        return SqlImages(self._connection)

    @property
    def volumes(self) -> SqlVolumes:
        return SqlVolumes(self._connection)

    @property
    def replicas(self) -> SqlReplicas:
        return SqlReplicas(self._connection)

    @property
    def events(self) -> SqlEvents:
        return SqlEvents(self._connection)

    @property
    def executions(self) -> SqlExecutions:
        return SqlExecutions(self._connection)

    @property
    def invocations(self) -> SqlInvocations:
        return SqlInvocations(self._connection)

    @property
    def schedules(self) -> SqlSchedules:
        return SqlSchedules(self._connection)

    def orphans(self, now: datetime) -> list[Orphan]:
        return orphans(self._connection, now)

    def note(self, key: str) -> str | None:
        return self._connection.scalar(select(notes.c.value).where(notes.c.key == key))

    def set_note(self, key: str, value: str) -> None:
        if not self._connection.execute(update(notes).where(notes.c.key == key).values(value=value)).rowcount:
            self._connection.execute(insert(notes).values(key=key, value=value))
