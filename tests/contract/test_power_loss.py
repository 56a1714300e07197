"""What is left after a loss of power, as far as it can be shown without one: the write-ahead log cut off or spoilt
anywhere, the order in which files are made durable, and what the kernel was asked for before anybody was told.

Not shown: that the disk keeps what it was told to keep.
"""

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from homeport.build.archive import keep_archive
from homeport.build.bundle import SYNCED_EACH, place
from homeport.core.ids import ExecutionId
from homeport.core.private import write_once
from homeport.store.sqlite import SqliteStore
from homeport.testing.factories import NOON, make_execution

ONE = ExecutionId("exec-one")
COMMITS = 40
CUTS = 150
SEED = 4


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[tuple[Path, list[int]]]:
    """A database with its log, as they were while the store was open, and how long the log was at each commit."""
    path, kept = tmp_path / "live" / "homeport.db", tmp_path / "kept.db"
    path.parent.mkdir()
    store = SqliteStore(path)
    await store.start()
    await store.write(lambda tx: tx.executions.insert(make_execution()))
    log = path.with_name("homeport.db-wal")
    lengths = [log.stat().st_size]
    for number in range(COMMITS):
        await asyncio.gather(
            store.write(lambda tx, n=number: tx.executions.add_tasks(ONE, 10 * n, ["{}"] * 10, NOON)),
            store.write(lambda tx, n=number: tx.set_note("last", str(n))),
        )
        lengths.append(log.stat().st_size)
    shutil.copy(path, kept)
    shutil.copy(log, tmp_path / "kept.db-wal")
    await store.stop()
    yield kept, lengths


async def test_a_log_that_is_cut_off_anywhere_holds_a_prefix_of_the_commits(written: tuple[Path, list[int]]) -> None:
    kept, lengths = written
    whole = kept.with_name("kept.db-wal").read_bytes()
    chosen = random.Random(SEED)
    edges = [length + more for length in lengths for more in (-1, 0, 1)]
    for cut in sorted({*edges, *(chosen.randrange(lengths[0], len(whole)) for _ in range(CUTS))}):
        if lengths[0] <= cut <= len(whole):
            _assert_prefix(kept, whole[:cut], lengths, cut)


async def test_a_log_whose_end_was_never_written_holds_a_prefix_of_the_commits(
    written: tuple[Path, list[int]],
) -> None:
    """The file has its length, and behind some place zeros or rubbish instead of what was written last."""
    kept, lengths = written
    whole = kept.with_name("kept.db-wal").read_bytes()
    chosen = random.Random(SEED)
    for _ in range(CUTS // 2):
        cut = chosen.randrange(lengths[0], len(whole))
        for rest in (b"\0" * (len(whole) - cut), chosen.randbytes(len(whole) - cut)):
            _assert_prefix(kept, whole[:cut] + rest, lengths, cut)


async def test_the_store_starts_on_what_is_left(written: tuple[Path, list[int]]) -> None:
    kept, lengths = written
    log = kept.with_name("kept.db-wal")
    os.truncate(log, lengths[20] + 100)
    store = SqliteStore(kept)
    await store.start()
    execution = await store.read(lambda tx: tx.executions.get(ONE))
    assert execution is not None and execution.total == execution.pending >= 200
    await store.write(lambda tx: tx.executions.add_tasks(ONE, execution.total, ["{}"], NOON))
    await store.stop()


def _assert_prefix(kept: Path, log: bytes, lengths: list[int], cut: int) -> None:
    """Everything that was acknowledged when the log was no longer than `cut` is there, and nothing in part."""
    path = kept.with_name("cut.db")
    for beside in kept.parent.glob("cut.db*"):
        beside.unlink()
    shutil.copy(kept, path)
    kept.with_name("cut.db-wal").write_bytes(log)
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",), cut
        tasks = [index for (index,) in found.execute('SELECT "index" FROM tasks ORDER BY "index"')]
        [(total,)] = found.execute("SELECT total FROM executions")
    assert tasks == [*range(total)], cut
    acknowledged = 10 * (sum(length <= cut for length in lengths) - 1)
    assert acknowledged <= total, (cut, acknowledged, total)


def test_a_name_is_durable_before_anything_refers_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, archive and bundle: the content, then the name, then the directory that holds the name."""
    done: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    monkeypatch.setattr(os, "sync", lambda: done.append("everything"))
    work, bundles, sources, part = (tmp_path / name for name in ("work", "bundles", "sources", "part"))
    for folder in (work, bundles, sources):
        folder.mkdir()
    part.write_bytes(b"zip")
    write_once(tmp_path / "admin-key", b"key")
    assert done[0].startswith(f"{tmp_path}/.admin-key.") and done[1:] == [str(tmp_path)]
    done.clear()
    keep_archive(part, sources, "digest")
    assert done == [str(part), str(sources)]
    done.clear()
    (work / "app").mkdir()
    (work / "app" / "one").touch()
    place(work, bundles / "digest")
    assert done == [str(work / "app" / "one"), str(work / "app"), str(work), str(bundles)]
    done.clear()
    work.mkdir()
    for number in range(SYNCED_EACH):
        (work / f"{number}").touch()
    place(work, bundles / "larger")
    assert done == ["everything", str(bundles)]


_WRITER = """
import asyncio, sys
from pathlib import Path
from homeport.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.start()
    for number in range(20):
        await asyncio.gather(*(store.write(lambda tx: tx.set_note(f"{number}-{lane}", "kept")) for lane in range(4)))
        print("told", flush=True)
    await store.stop()

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_nobody_is_told_before_the_log_was_synchronised(tmp_path: Path) -> None:
    """What the kernel saw: between the last write to the log and each answer lies an fdatasync of the log."""
    path, trace = tmp_path / "homeport.db", tmp_path / "trace"
    calls = "trace=pwrite64,fdatasync,fsync,write"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", _WRITER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    unsynced, told = False, 0
    for line in trace.read_text().splitlines():
        if "pwrite64" in line and "homeport.db-wal" in line:
            unsynced = True
        elif "sync(" in line and "homeport.db-wal" in line:
            unsynced = False
        elif "write(1<" in line and '"told' in line:
            told += 1
            assert not unsynced, line
    assert told == 20
