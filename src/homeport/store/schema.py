"""Bring a SQLite file to this version's schema, or say why not. Called by the SQLite store before anything else uses
the file. It never repairs, and it never touches a file that is not Homeport's or is newer than this program."""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from homeport.core.clock import SystemClock
from homeport.core.errors import StoreUnavailable
from homeport.store.failures import DAMAGED, StoreDamaged

log = logging.getLogger(__name__)

_OLDEST_SQLITE = (3, 35)  # the first that answers an UPDATE with the rows it changed
_MAGIC = b"SQLite format 3\x00"
# In this time some hundred megabytes are checked. What is larger is checked on while it is used: a start must not take
# minutes, and a process that was killed damages nothing.
_CHECK_TIMEOUT_S = 1.0
_LOCK_TIMEOUT_S = 5.0
_TURN_S = 0.05


def prepare_file(path: Path) -> bool:
    """Make the file, for its owner only, if it is absent. Raises `StoreUnavailable` for a file that is damaged, of
    another program, or of a newer Homeport. Returns whether all of it was looked at; `check` looks at the rest."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        needed = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreUnavailable(
            f"This Python has SQLite {sqlite3.sqlite_version}; Homeport needs {needed} or later.",
            hint="Use a newer Python, such as one that uv installs.",
        )
    try:
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise StoreUnavailable(
            f"The store's database {path} cannot be opened: {error.strerror}.",
            hint="Check that the directory exists and belongs to Homeport's user.",
            detail=str(error),
        ) from error
    if start == b"":
        _refuse_emptied(path)
        return True
    if start != _MAGIC:
        raise StoreUnavailable(f"The store's database {path} is damaged or is not a database.", hint=DAMAGED)
    whole = check(path, _CHECK_TIMEOUT_S)
    _refuse_foreign(path)
    return whole


def migrate(engine: Engine) -> None:
    """Run what is missing of the migrations, all in one transaction."""
    with engine.begin() as connection:
        if _version(connection) == newest_version():
            return  # ordinarily; without loading what makes changes of the schema, which would stay in memory
        from alembic import command
        from alembic.config import Config

        config = Config()
        # A percent sign has a meaning in this configuration.
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


_MIGRATIONS = Path(__file__).parent / "migrations"


def known_versions() -> list[str]:
    """Of the schema, oldest first: each migration's file begins with its own."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def newest_version() -> str:
    return known_versions()[-1]


def _version(connection: Connection) -> str | None:
    """What the database is at; None for a new one."""
    if not inspect(connection).has_table(_VERSIONS):
        return None
    version: str | None = connection.scalar(text(f"SELECT version_num FROM {_VERSIONS}"))
    return version


def _refuse_emptied(path: Path) -> None:
    """SQLite would take an empty file for a new database and throw the log beside it away."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise StoreUnavailable(
            f"The store's database {path} is damaged: it is empty, and {wal.name} beside it is not.", hint=DAMAGED
        )


def check(path: Path, timeout_s: float | None, stopping: threading.Event | None = None) -> bool:
    """Have SQLite check the file, for `timeout_s` at most and until `stopping`. Returns whether all of it was looked
    at. Raises `StoreDamaged` for the first thing found. Others may use the database meanwhile."""
    ended = threading.Event()
    stopping = stopping or threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)) as one:
        watching = threading.Thread(target=_interrupt, args=(one, ended, stopping, timeout_s), daemon=True)
        watching.start()
        try:
            found = one.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return False
        except sqlite3.DatabaseError as error:
            found = str(error)
        finally:
            ended.set()
            watching.join()
    if found != "ok":
        raise StoreDamaged(f"The store's database {path} is damaged.", hint=DAMAGED, detail=str(found))
    return True


def _interrupt(
    connection: sqlite3.Connection, ended: threading.Event, stopping: threading.Event, timeout_s: float | None
) -> None:
    """Interrupt what the connection does, after the time or when `stopping`; not once it has `ended`."""
    clock = SystemClock()
    until = clock.monotonic() + timeout_s if timeout_s is not None else None
    while not ended.wait(_TURN_S):
        if stopping.is_set() or (until is not None and clock.monotonic() >= until):
            connection.interrupt()


def _refuse_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT_S)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        versions = [*connection.execute("SELECT version_num FROM alembic_version")] if _VERSIONS in tables else []
    if tables and not versions:
        raise StoreUnavailable(
            f"The database {path} belongs to another program.", hint="Choose another data directory with --data."
        )
    for (version,) in versions:
        if version not in known_versions():
            raise StoreUnavailable(
                f"The store's database {path} was made by a newer Homeport (schema {version}; this one knows up to "
                f"{newest_version()}).",
                hint="Start the newer version, or put back a backup of the data directory from before the upgrade.",
            )


_VERSIONS = "alembic_version"
