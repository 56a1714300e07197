"""SQLite's errors in Homeport's words: what is wrong with the file or the disk, and what to do. Used by the SQLite
store; a mistake in a statement is no such failure and becomes `Internal`."""

import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from homeport.core.errors import HomeportError, Internal, Invalid, StoreUnavailable
from homeport.core.space import disk_full

DAMAGED = "Stop Homeport, keep a copy of the file for inspection, and put back a backup of the data directory."

_PROBLEMS = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Stop whatever else has it open."),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "Stop whatever else has it open."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check the disk and its space: the system's log says more."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", DAMAGED),
    sqlite3.SQLITE_NOTADB: ("is not a database", DAMAGED),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check that the directory exists and belongs to Homeport's user."),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Check the file's owner and mode, and that the disk is writable."),
    sqlite3.SQLITE_PERM: ("cannot be opened", "Check the file's owner and mode."),
    sqlite3.SQLITE_NOMEM: ("cannot be used: the machine is out of memory", "Free some memory."),
    sqlite3.SQLITE_PROTOCOL: ("is locked by another process", "Stop whatever else has it open."),
}


# What is damaged stays so, and every further write would add to it.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreDamaged(StoreUnavailable):
    """The store's database is damaged."""


def translated(error: Exception, path: Path, *, reading: bool = False) -> Exception:
    """The error that a caller of the store in the file at `path` sees, caused by `error`. What the work raised by
    itself passes as it is."""
    shown = _shown(error, path, reading)
    if shown is not error:
        shown.__cause__ = error
    return shown


def _shown(error: Exception, path: Path, reading: bool) -> Exception:
    if isinstance(error, HomeportError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, UnicodeEncodeError):
        return Invalid("text", "must be valid Unicode")
    if not isinstance(cause, sqlite3.Error):
        return Internal(detail=f"the store failed: {error!r}") if isinstance(error, DBAPIError) else error
    # The low byte is the class of the problem, the rest its finer kind.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return disk_full(path.parent)
    if code not in _PROBLEMS or (reading and code == sqlite3.SQLITE_READONLY):
        return Internal(detail=f"the store refused a statement: {cause}")
    problem, hint = _PROBLEMS[code]
    kind = StoreDamaged if code in _DAMAGED else StoreUnavailable
    return kind(f"The store's database {path} {problem}.", hint=hint, detail=str(cause))
