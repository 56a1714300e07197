"""The node's journal: which units were started, how they ended, which were forgotten. Owned by the supervisor.

One append-only file of lines `CRC32 JSON\n`. Records: `{"start": …}` (durable before the process starts; without the
environment, so that no secret reaches the disk), `{"end": …}` (with the number that readers use as a cursor),
`{"forget": id}` and `{"next": n}` (the next number, so that it survives a rewrite). A record counts once it is
synchronised; what is appended within one turn of the event loop is synchronised together. A file that breaks off at
any byte is read up to its last whole record. When most records are about forgotten units the file is rewritten
and renamed into place, so its size follows the number of units that are kept.
"""

import asyncio
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from homeport.core.clock import parse_timestamp
from homeport.core.ids import UnitId
from homeport.core.units import UnitSpec, UnitState, UnitStatus

log = logging.getLogger(__name__)

Record = dict[str, Any]
REWRITE_AFTER = 4096  # records: a rewrite costs some milliseconds, so it must be seldom; the file stays below ~4 MB


class Journal:
    """`records` holds what the file said when it was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records, whole = _read(path)
        self._count = len(self.records)
        self._floor = self._count
        self._buffer = bytearray()
        self._waiting: list[asyncio.Future[None]] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size > whole:
            log.warning("the journal breaks off after byte %d; the rest is dropped", whole)
            os.ftruncate(self._file, whole)
        os.fsync(self._file)
        _sync_folder(path.parent)

    async def append(self, *records: Record) -> None:
        """Returns when the records are on the disk. Raises OSError when they cannot be written."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(done)
        self._buffer += b"".join(map(_line, records))
        self._count += len(records)
        await done

    def rewrite_if_long(self, kept: Callable[[], Iterable[Record]]) -> None:
        """Replace the file by the records of `kept` when it has grown far beyond what they need."""
        if self._waiting or self._count < REWRITE_AFTER + 2 * self._floor:
            return
        records = list(kept())
        fresh = self._path.with_suffix(".new")
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _write_all(handle, b"".join(map(_line, records)))
        os.fsync(handle)
        os.rename(fresh, self._path)
        _sync_folder(self._path.parent)
        os.close(self._file)
        self._file, self._count, self._floor = handle, len(records), len(records)

    def close(self) -> None:
        if self._waiting:
            self._flush()
        os.close(self._file)

    def _flush(self) -> None:
        data, waiting = bytes(self._buffer), self._waiting
        self._buffer, self._waiting = bytearray(), []
        if not waiting:
            return
        before = os.fstat(self._file).st_size
        try:
            _write_all(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, before)  # else half a record would hide every later one
            _settle(waiting, error)
        else:
            _settle(waiting, None)


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


def _line(record: Record) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _read(path: Path) -> tuple[list[Record], int]:
    """The whole records and the number of bytes that they take."""
    data = path.read_bytes() if path.exists() else b""
    records: list[Record] = []
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        record = _parse(data[position:end])
        if record is None:
            break
        records.append(record)
        position = end + 1
    return records, position


def _parse(line: bytes) -> Record | None:
    try:
        checksum, body = int(line[:8], 16), line[9:]
        record = json.loads(body)
    except ValueError:
        return None
    return record if zlib.crc32(body) == checksum and isinstance(record, dict) else None


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(handle)
    os.close(handle)
