"""The node's journal: which units were started, how they ended, which were forgotten. Owned by the supervisor.

One append-only file of lines `CRC32 JSON\\n`. Records: `{"start": …}` (durable before the process starts; without the
environment, so that no secret reaches the disk), `{"end": …}` (with the number that readers use as a cursor),
`{"forget": id}` and `{"next": n}` (the next number, so that it survives a rewrite). A record counts once it is
synchronised; what is appended within one turn of the event loop is synchronised together, all of it or nothing.

A file that breaks off at any byte is read up to its last whole record. A damaged line in the middle is left out, the
file is kept as `journal.damaged`, and the records that are whole go into a fresh one. When most records are about
forgotten units the file is rewritten and renamed into place, so its size follows the number of units that are kept.

Some blocks are set aside beyond the end of the file, so that ends can still be written when the disk is full.
"""

import asyncio
import contextlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from homeport.core.clock import parse_timestamp
from homeport.core.ids import UnitId
from homeport.core.private import sync_folder
from homeport.core.units import UnitSpec, UnitState, UnitStatus
from homeport.node import disk

log = logging.getLogger(__name__)

Record = dict[str, Any]
REWRITE_AFTER = 4096  # records: a rewrite costs some milliseconds, so it must be seldom; the file stays below ~4 MB
RESERVE_BYTES = 256 * 1024  # beyond the end of the file: some 500 ends


class Journal:
    """`records` holds what the file said when it was opened; `damaged` whether records were missing in the middle."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be read or written."""
        self._path = path
        self._fresh = path.with_suffix(".new")
        self._fresh.unlink(missing_ok=True)  # a rewrite that a killed node did not finish
        self.records, whole = _read(path)
        self.damaged = whole is None
        self._count = len(self.records)
        self._floor = self._count
        self._buffer = bytearray()
        self._waiting: list[asyncio.Future[None]] = []
        self._under_way = 0  # appends that have not returned yet
        self._owed: list[Record] = []
        self._file = _open(path, 0)
        size = os.fstat(self._file).st_size
        if whole is None:
            copy = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):  # such as an earlier one, which tells more
                os.link(path, copy)
            log.error("the journal is damaged in the middle; its whole records are used, the file is kept as %s", copy)
            self._replace(self.records)
        elif size > whole:
            log.warning("the journal breaks off after byte %d; the rest is dropped", whole)
            os.ftruncate(self._file, whole)
        self._durable = os.fstat(self._file).st_size
        os.fsync(self._file)
        sync_folder(path.parent)
        self._reserved = 0
        self._reserve()

    @property
    def has_reserve(self) -> bool:
        """Whether ends could still be written if the disk were full now."""
        return self._reserve()

    async def append(self, *records: Record) -> None:
        """Returns when the records are on the disk. Raises OSError when they cannot be written; then none of them is,
        nor any other of the same turn."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(done)
        self._buffer += b"".join(map(_line, records))
        self._count += len(records)
        self._under_way += 1
        try:
            await done
        finally:
            self._under_way -= 1

    def owe(self, record: Record) -> None:
        """Write `record` with the next records that can be written: nobody waits for it."""
        self._owed.append(record)

    def rewrite_if_long(self, kept: Callable[[], Iterable[Record]]) -> None:
        """Replace the file by the records of `kept` when it has grown far beyond what they need. Where that fails, such
        as on a full disk, the file stays as it is, and the next attempt waits until it has grown again. While anybody
        appends it stays, too: a record may be durable whose writer has not gone on and made it one of `kept`."""
        if self._under_way or self._count < REWRITE_AFTER + 2 * self._floor:
            return
        try:
            self._replace([*kept(), *self._owed])
        except OSError as error:
            log.warning("the journal cannot be rewritten yet: %s", error)
            self._fresh.unlink(missing_ok=True)
            self._floor = self._count
        else:
            self._owed = []

    def close(self) -> None:
        if self._waiting:
            self._flush()
        os.close(self._file)

    def _replace(self, records: Sequence[Record]) -> None:
        handle = _open(self._fresh, os.O_TRUNC)
        try:
            disk.write_all(handle, b"".join(map(_line, records)))
            os.fsync(handle)
            os.rename(self._fresh, self._path)
        except OSError:
            os.close(handle)
            raise
        os.close(self._file)
        self._file, self._count, self._floor = handle, len(records), len(records)
        self._durable, self._reserved = os.fstat(handle).st_size, 0
        sync_folder(self._path.parent)
        self._reserve()

    def _flush(self) -> None:
        data, waiting, owed = bytes(self._buffer), self._waiting, self._owed
        self._buffer, self._waiting = bytearray(), []
        try:
            if os.fstat(self._file).st_size != self._durable:  # left by a flush that failed
                os.ftruncate(self._file, self._durable)
            disk.write_all(self._file, b"".join(map(_line, owed)) + data)
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):  # tried again before anything is appended
                os.ftruncate(self._file, self._durable)
            _settle(waiting, error)
            return
        self._durable, self._owed = os.fstat(self._file).st_size, self._owed[len(owed) :]
        _settle(waiting, None)
        self._reserve()

    def _reserve(self) -> bool:
        """Keep at least half of the reserve; one call of the kernel for some hundred records."""
        if self._reserved - self._durable < RESERVE_BYTES // 2:
            end = self._durable + RESERVE_BYTES
            if not disk.set_aside(self._file, end):
                return False
            self._reserved = end
        return True


def read_units(path: Path) -> list[UnitStatus]:
    """The units of which the journal at `path` knows, while no node has it open; those without an end as STARTING."""
    units: dict[UnitId, UnitStatus] = {}
    for record in _read(path)[0]:
        if "start" in record:
            spec = UnitSpec.from_json(record["start"])
            begun = parse_timestamp(record["at"])
            state = UnitState.STARTING
            units[spec.id] = UnitStatus(id=spec.id, kind=spec.kind, state=state, started_at=begun, labels=spec.labels)
        elif "end" in record:
            status = UnitStatus.from_json(record["end"]["status"])
            if status.id in units:
                units[status.id] = status
        elif "forget" in record:
            units.pop(record["forget"], None)
    return [*units.values()]


def _settle(waiting: list[asyncio.Future[None]], error: OSError | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _open(path: Path, more: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | more, 0o600)


def _line(record: Record) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _read(path: Path) -> tuple[list[Record], int | None]:
    """The whole records and the number of bytes that they take; None when something damaged stands between them."""
    data = path.read_bytes() if path.exists() else b""
    records: list[Record] = []
    position = whole = 0
    in_order = True
    while (end := data.find(b"\n", position)) >= 0:
        record = _parse(data[position:end])
        if record is not None:
            records.append(record)
            in_order = in_order and whole == position
            whole = end + 1
        position = end + 1
    return records, whole if in_order else None


def _parse(line: bytes) -> Record | None:
    try:
        checksum, body = int(line[:8], 16), line[9:]
        record = json.loads(body)
    except ValueError:
        return None
    return record if zlib.crc32(body) == checksum and isinstance(record, dict) else None
