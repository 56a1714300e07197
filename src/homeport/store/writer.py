"""The one thread that writes to SQLite. Work that waits is done in groups: each piece in a savepoint of its own, all
of them in one transaction with one synchronised commit, so that the disk's latency is paid once for many writes.

Made by the SQLite store. It knows nothing of what the work does; a piece that raises undoes only itself.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from homeport.core import measures
from homeport.core.errors import Internal, StoreUnavailable, Unavailable
from homeport.store.failures import StoreDamaged, translated
from homeport.store.sql import SqlTransaction

log = logging.getLogger(__name__)

# A group ends at this many pieces or after this long, whichever is first: the first of a group waits for the last.
GROUP_SIZE = 256
GROUP_TIME_S = 0.05
# Pieces that wait for the thread: some groups' worth. More only grows the wait, and their callers must hear of it.
WAITING = 1024
WAIT_TIMEOUT_S = 30.0
# At the end the thread finishes what it was given; a piece that takes longer than this is broken.
STOP_TIMEOUT_S = 30.0


@dataclass(slots=True, eq=False)
class _Piece:
    """Work on its way through the thread; filled in there, read on the loop afterwards."""

    work: Callable[[SqlTransaction], Any]
    future: asyncio.Future[Any]
    value: Any = None
    error: Exception | None = None


class Writer:
    """Owns the thread and its queue. `write` is called on one event loop only, the one that `start` ran on."""

    def __init__(self, engine: Engine, path: Path) -> None:
        """`failure` is why the last change could not be written; None again with the first one that is."""
        self._engine = engine
        self._path = path
        self.failure: Unavailable | None = None
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()  # bounded by the room below
        self._room = asyncio.Semaphore(WAITING)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._stopping = False

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Finish everything that was handed over, then end the thread."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)
        if self._thread.is_alive():
            log.error("the store's writer did not end within %s s", STOP_TIMEOUT_S)

    async def write(self, work: Callable[[SqlTransaction], Any]) -> Any:
        """The work's answer, once it is durable."""
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                await self._room.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("Too many changes wait for the store.", hint="Try again.") from error
        if self._stopping:
            self._room.release()
            raise StoreUnavailable("The store is closed.")
        if isinstance(damaged := self.failure, StoreDamaged):
            self._room.release()
            raise StoreDamaged(damaged.message, hint=damaged.hint, detail=damaged.detail)
        piece = _Piece(work, self._loop.create_future())
        self._queue.put(piece)
        return await piece.future

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            if self._write_group(first):
                return

    def _write_group(self, first: _Piece) -> bool:
        """One transaction; True if the last piece ever was in it."""
        taken: list[_Piece] = []
        ended = False
        began = time.monotonic()
        try:
            with self._engine.connect() as connection:
                driver = _driver(connection)
                before = driver.total_changes
                with connection.begin():
                    ended = self._do_all(connection, first, taken)
                if driver.total_changes > before:
                    self.note(None)
                    _count(len(taken), time.monotonic() - began)
        except Exception as error:
            if first not in taken:  # the transaction did not even begin
                taken.append(first)
            self._group_lost(taken, error)
        self._loop_call(taken)
        return ended

    def _do_all(self, connection: Connection, first: _Piece, taken: list[_Piece]) -> bool:
        """The pieces of a group, each of them `taken` first; True if the last piece ever was among them."""
        for piece in self._waiting(first):
            if piece is None:
                return True
            taken.append(piece)
            self._do(connection, piece)
        return False

    def note(self, error: Exception | None) -> None:
        """Remember what keeps the store from writing, if it is that. A damaged database stays damaged."""
        if isinstance(error, Unavailable | None) and not isinstance(self.failure, StoreDamaged):
            self.failure = error

    def _waiting(self, first: _Piece) -> Iterator[_Piece | None]:
        """`first`, then whatever else waits, within the bounds of a group."""
        yield first
        ends_at = time.monotonic() + GROUP_TIME_S
        for _ in range(GROUP_SIZE - 1):
            if time.monotonic() >= ends_at:
                return
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def _do(self, connection: Connection, piece: _Piece) -> None:
        if piece.future.cancelled():
            return
        # Said to the driver itself: SQLAlchemy would compile each savepoint anew, a third of a small write's time.
        driver = _driver(connection)
        driver.execute("SAVEPOINT piece")
        try:
            piece.value = piece.work(SqlTransaction(connection))
        except Exception as error:
            # A full disk or a failed read makes SQLite undo the whole transaction by itself, savepoints included.
            if not driver.in_transaction:
                raise
            driver.execute("ROLLBACK TO piece")
            piece.error = translated(error, self._path)
            if isinstance(error, DBAPIError):  # not what the work raised by itself
                self.note(piece.error)
        driver.execute("RELEASE piece")

    def _group_lost(self, taken: list[_Piece], error: Exception) -> None:
        shown = translated(error, self._path)
        self.note(shown)
        measures.STORE_FAILURES.inc()
        log.error("a group of %d writes was lost: %s", len(taken), getattr(shown, "detail", "") or shown)
        for piece in taken:
            piece.error = piece.error or shown

    def _loop_call(self, taken: list[_Piece]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._answer, taken)
        except RuntimeError:
            log.warning("%d writes ended after their event loop was closed", len(taken))

    def _answer(self, taken: list[_Piece]) -> None:
        for piece in taken:
            self._room.release()
            if piece.future.done():
                continue
            if piece.error is not None:
                piece.future.set_exception(piece.error)
            else:
                piece.future.set_result(piece.value)


def _count(pieces: int, seconds: float) -> None:
    measures.STORE_COMMITS.inc()
    measures.STORE_WRITES.inc(pieces)
    measures.STORE_COMMIT_SECONDS.observe(seconds)


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise Internal(detail=f"the writer is for SQLite, not for {driver!r}")
    return driver
