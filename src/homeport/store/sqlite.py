"""The store on SQLite: one file in WAL mode, one writing thread, a few reading ones. Made by the composition root.

One process has the file open for writing; the lock of the data directory sees to that. Readers see the last commit
and neither wait for the writer nor hold it up.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event

from homeport.core.errors import StoreUnavailable, Unavailable
from homeport.store.contract import Transaction
from homeport.store.failures import StoreDamaged, translated
from homeport.store.schema import check, migrate, prepare_file
from homeport.store.sql import SqlTransaction
from homeport.store.writer import Writer

T = TypeVar("T")
log = logging.getLogger(__name__)

READERS = 4  # threads and connections; reads are short, and Python runs one thread at a time
WAITING_READS = 1024  # more only grows the wait, and their callers must hear of it
WAIT_TIMEOUT_S = 30.0
LOCK_TIMEOUT_S = 5.0  # for a lock of another process, such as a backup that copies the file
# The write-ahead log grows for as long as one read goes on; once it was copied to the database, no more of its file is
# kept than this.
LOG_KEPT_BYTES = 64 * 1024 * 1024
_CACHE_KIB = 32 * 1024  # of the writer: the working set of a large execution's claims
_STATEMENTS = 256  # prepared ones kept for each connection; the package has fewer


class SqliteStore:
    """Keeps `contract.Store` in the file at `path`; its directory must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: _Open | None = None

    async def start(self) -> None:
        if self._open is not None:
            return
        writing = _writing_engine(self._path)
        try:
            checked = await asyncio.to_thread(_prepare, self._path, writing)
        except Exception as error:
            writing.dispose()
            shown = translated(error, self._path)
            if shown is error:
                raise
            raise shown from error
        self._open = _Open(self._path, writing)
        if not checked:
            self._open.check_on()

    async def stop(self) -> None:
        if (opened := self._open) is None:
            return
        self._open = None
        await opened.close()

    @property
    def failure(self) -> Unavailable | None:
        return self._opened().writer.failure

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._opened().read(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        answer: T = await self._opened().writer.write(work)
        return answer

    async def scrub(self) -> None:
        try:
            await asyncio.to_thread(_scrub, self._path)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    def _opened(self) -> "_Open":
        if self._open is None:
            raise StoreUnavailable("The store is not open.")
        return self._open


def read_beside(path: Path, work: Callable[[Transaction], T]) -> T:
    """One read of a store that another process may have open, or none. Changes nothing, the schema neither. Raises
    `StoreUnavailable`, or `Internal` where the schema is another version's."""
    engine = _reading_engine(path)
    try:
        with engine.connect() as connection, connection.begin():
            return work(SqlTransaction(connection))
    except Exception as error:
        raise translated(error, path, reading=True) from error
    finally:
        engine.dispose()


class _Open:
    """What an open store consists of."""

    def __init__(self, path: Path, writing: Engine) -> None:
        self._path = path
        self._writing = writing
        self._reading = _reading_engine(path)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._room = asyncio.Semaphore(WAITING_READS)
        self._closing = False
        self._checking: threading.Thread | None = None
        self._stop_checking = threading.Event()
        self.writer = Writer(writing, path)
        self.writer.start()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                await self._room.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("Too many reads wait for the store.", hint="Try again.") from error
        try:
            if self._closing:
                raise StoreUnavailable("The store is closed.")
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)
        finally:
            self._room.release()

    def _read(self, work: Callable[[Transaction], T]) -> T:
        try:
            with self._reading.connect() as connection, connection.begin():
                return work(SqlTransaction(connection))
        except Exception as error:
            shown = translated(error, self._path, reading=True)
            if isinstance(shown, StoreDamaged):
                self.writer.note(shown)
            if shown is error:
                raise
            raise shown from error

    def check_on(self) -> None:
        """Check a large file while it is in use; damage ends all writing."""
        self._checking = threading.Thread(target=self._check, name="store-check", daemon=True)
        self._checking.start()

    def _check(self) -> None:
        try:
            if check(self._path, None, self._stop_checking):
                log.info("%s is large and was checked while in use: nothing found", self._path)
        except Exception as error:
            shown = translated(error, self._path)
            log.error("%s %s", shown, getattr(shown, "detail", ""))
            self.writer.note(shown)

    async def close(self) -> None:
        """The readers first: the last connection to close is the writer's, which empties the write-ahead log."""
        self._closing = True
        self._stop_checking.set()
        if self._checking is not None:
            await asyncio.to_thread(self._checking.join)
        await self.writer.stop()
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        self._reading.dispose()
        await asyncio.to_thread(self._writing.dispose)


def _prepare(path: Path, writing: Engine) -> bool:
    """Whether all of the file was checked."""
    checked = prepare_file(path)
    migrate(writing)
    return checked


def _scrub(path: Path) -> None:
    """Write the file anew from what is in it, and empty the write-ahead log."""
    with closing(_connect(path, "rw")) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _writing_engine(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = _connect(path, "rw")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives the loss of power
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")
        return connection

    # One connection for one thread. The driver is told to begin nothing by itself, so we say when and how: taking
    # the write lock at once means that no statement in the middle finds it taken.
    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    return _beginning(engine, "BEGIN IMMEDIATE")


def _reading_engine(path: Path) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "ro"),
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=WAIT_TIMEOUT_S,
    )
    return _beginning(engine, "BEGIN")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=LOCK_TIMEOUT_S,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )


def _beginning(engine: Engine, statement: str) -> Engine:
    def begin(connection: Connection) -> Any:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", begin)
    return engine
