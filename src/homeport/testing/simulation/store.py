"""The store's real statements on SQLite in memory, on the loop's own thread. It passes the same contract suite as the
store on a file; what it leaves out is what a simulation cannot have: threads, a file, and waiting for a disk.

A process makes the schema once, and each run begins with a copy of it.
"""

import asyncio
import functools
import inspect
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

from homeport.core.errors import StoreUnavailable
from homeport.store.contract import Transaction
from homeport.store.failures import translated
from homeport.store.schema import migrate
from homeport.store.sql import SqlTransaction

T = TypeVar("T")


class MemoryStore:
    """Keeps `contract.Store`. `after_commit` is called after each commit that changed a row, with the connection;
    `commits` counts them, but for those of keys, which expire when nothing else happens."""

    def __init__(self) -> None:
        self.after_commit: Callable[[sqlite3.Connection], None] = lambda _: None
        self._engine = _engine()
        self._raw = _raw(self._engine)
        self._raw.deserialize(_image())
        self._open = False
        self._remembered: dict[Any, tuple[Any, set[str]]] = {}
        self.commits = 0

    async def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        self._open = False

    async def scrub(self) -> None:
        """Nothing is left behind in a file."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return self.read_now(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return self.write_now(work)

    def read_now(self, work: Callable[[Transaction], T]) -> T:
        """A snapshot is always whole here. What depends on nothing but the store is not read again before something of
        it was written: loops ask the same questions each second, and mostly nothing has changed."""
        key = _identity(work)
        if key is not None and key in self._remembered:
            remembered: T = self._remembered[key][0]
            return remembered
        answer, nouns = self._done("BEGIN", work, keep=False)
        if key is not None:
            self._remembered[key] = (answer, nouns)
        return answer

    def write_now(self, work: Callable[[Transaction], T], *, keep: bool = True) -> T:
        """One commit; or, without `keep`, all of its work and then no commit, as on a full disk."""
        before = self._raw.total_changes
        answer, nouns = self._done("BEGIN IMMEDIATE", work, keep=keep)
        if self._raw.total_changes != before and keep:
            self.commits += nouns != {"identities"}
            if "resources" in nouns:
                nouns |= _OF_RESOURCES  # they go with it
            self._remembered = {key: kept for key, kept in self._remembered.items() if not kept[1] & nouns}
            self.after_commit(self._raw)
        return answer

    def query(self, statement: str, *values: Any) -> list[Any]:
        """For whoever checks: rows, past the store's own statements."""
        return self._raw.execute(statement, values).fetchall()

    def _done(self, begin: str, work: Callable[[Transaction], T], *, keep: bool) -> tuple[T, set[str]]:
        """What the work gives, and the nouns of the contract that it used."""
        if not self._open:
            raise StoreUnavailable("The store is not open.")
        try:
            with self._engine.connect() as connection:
                self._raw.execute(begin)
                try:
                    transaction = _Noting(connection)
                    answer = work(transaction)
                except BaseException:
                    self._raw.execute("ROLLBACK")
                    raise
                self._raw.execute("COMMIT" if keep else "ROLLBACK")
                return answer, transaction.nouns
        except Exception as error:
            shown = translated(error, Path("memory"), reading=begin == "BEGIN")
            if shown is error:
                raise
            raise shown from error


_NOUNS = frozenset(name for name, _ in inspect.getmembers(SqlTransaction) if not name.startswith("_"))
_OF_RESOURCES = {"revisions", "replicas", "events", "images", "volumes", "schedules"}


class _Noting(SqlTransaction):
    """Notes which nouns of the contract are used."""

    __slots__ = ("nouns",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.nouns: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in _NOUNS:
            self.nouns.add("note" if name == "set_note" else name)
        return super().__getattribute__(name)


def _identity(work: Callable[..., Any]) -> Any:
    """What stands for a function whose answer depends on its transaction alone: its code, with what is bound to it.
    None for one that may depend on more. (A method may read a clock. Those of the loops do so for the expiry of keys
    alone, which comes with the full hour: they are asked again each minute.)"""
    if isinstance(work, partial) and not work.keywords and all(isinstance(one, str) for one in work.args):
        return _identity(work.func), work.args
    if isinstance(work, MethodType):
        return work.__func__, work.__self__, asyncio.get_running_loop().time() // 60
    if isinstance(work, FunctionType) and work.__closure__ is None and work.__defaults__ is None:
        return work.__code__
    return None


@functools.cache
def _engine() -> Engine:
    """One for the process: what SQLAlchemy has compiled is kept with it."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA foreign_keys = ON")
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # Transactions are begun and ended by the store itself; SQLAlchemy's own beginning is none.
    event.listen(engine, "begin", lambda _: None)
    return engine


def _raw(engine: Engine) -> sqlite3.Connection:
    with engine.connect() as connection:
        return _driver(connection)


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


@functools.cache
def _image() -> bytes:
    """An empty database of the newest schema."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda made: made.exec_driver_sql("BEGIN"))
    migrate(engine)
    return connection.serialize()
