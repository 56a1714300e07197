"""The journal under damage and on a full disk: what was acknowledged is there, and what was refused is not."""

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.node import journal
from homeport.node.journal import Journal, Record
from homeport.testing.small_disk import fill, small_disk

RECORDS: list[Record] = [{"start": {"id": f"unit-{n}", "text": "zwölf" * n}} for n in range(12)]


async def written(path: Path, records: list[Record] = RECORDS) -> bytes:
    book = Journal(path)
    await book.append(*records)
    book.close()
    return path.read_bytes()


def read(path: Path) -> list[Record]:
    book = Journal(path)
    book.close()
    return book.records


GARBAGE: dict[str, Callable[[], bytes]] = {
    "a page of zeros": lambda: bytes(4096),
    "many zeros": lambda: bytes(3 * 4096 + 17),
    "noise": lambda: random.Random(4).randbytes(5000),
    "lines of noise": lambda: b"\n".join(random.Random(number).randbytes(40) for number in range(50)) + b"\n",
    "half a record": lambda: b'0000beef {"end":{"seq":1,',
    "a record with a wrong sum": lambda: b'0000beef {"end":{"seq":1}}\n',
}


@pytest.mark.parametrize("tail", GARBAGE)
async def test_whatever_follows_the_last_whole_record_is_dropped_and_new_records_are_kept(
    tmp_path: Path, tail: str
) -> None:
    path = tmp_path / "journal"
    data = await written(path)
    for length in {0, 1, len(data) // 2, len(data) - 1, len(data)}:
        path.write_bytes(data[:length] + GARBAGE[tail]())
        whole = data[:length].count(b"\n")
        book = Journal(path)
        assert book.records == RECORDS[:whole] and not book.damaged
        await book.append({"forget": "x"})
        book.close()
        assert read(path) == [*RECORDS[:whole], {"forget": "x"}]


async def test_a_record_damaged_in_the_middle_costs_itself_alone_and_the_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    data = await written(path)
    starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == ord("\n"))][: len(RECORDS)]
    for number, start in enumerate(starts[:-1]):
        path.write_bytes(data[: start + 12] + bytes([data[start + 12] ^ 1]) + data[start + 13 :])
        book = Journal(path)
        assert book.damaged and book.records == [*RECORDS[:number], *RECORDS[number + 1 :]]
        await book.append({"forget": "x"})
        book.close()
        path.with_suffix(".damaged").unlink()
        again = Journal(path)
        assert not again.damaged and again.records[-1] == {"forget": "x"} and len(again.records) == len(RECORDS)
        again.close()


async def test_a_page_of_zeros_in_the_middle_costs_the_records_that_it_covers(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    many: list[Record] = [{"forget": f"unit-{n:04d}"} for n in range(600)]
    data = await written(path, many)
    path.write_bytes(data[:4096] + bytes(4096) + data[8192:])
    found = read(path)
    assert [record for record in many if record in found] == found and 300 < len(found) < 600


async def test_a_rewrite_killed_at_any_byte_changes_nothing(tmp_path: Path) -> None:
    path, fresh = tmp_path / "journal", tmp_path / "journal.new"
    data = await written(path)
    for length in range(0, len(data), 7):
        fresh.write_bytes(data[:length])
        assert read(path) == RECORDS and not fresh.exists()


async def test_a_full_disk_refuses_records_whole_and_takes_them_again_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2) as place:
        path = place / "journal"
        book = Journal(path)
        filler = fill(place)
        kept: list[Record] = []
        with pytest.raises(OSError, match="No space left"):
            while True:  # the reserve first: ends are written on a full disk
                kept.append({"end": {"seq": len(kept)}, "text": "x" * 3000})
                await book.append(kept[-1])
        assert len(kept) * 3000 >= journal.RESERVE_BYTES // 2 and not book.has_reserve
        before = path.read_bytes()
        results = await asyncio.gather(
            *(book.append({"start": n, "text": "y" * 9000}) for n in range(3)), return_exceptions=True
        )
        assert all(isinstance(result, OSError) for result in results) and path.read_bytes() == before
        book.owe({"forget": "later"})
        filler.unlink()
        await book.append({"next": 5})
        assert book.has_reserve
        book.close()
        assert read(path) == [*kept[:-1], {"forget": "later"}, {"next": 5}]


async def test_a_rewrite_that_finds_no_room_leaves_the_journal_as_it_is(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as place:
        path = place / "journal"
        book = Journal(path)
        await book.append(*({"forget": f"unit-{n}"} for n in range(journal.REWRITE_AFTER + 1)))
        filler = fill(place)
        open_before = len(os.listdir("/proc/self/fd"))
        book.rewrite_if_long(lambda: [{"next": n, "text": "x" * 1000} for n in range(1000)])
        assert not (place / "journal.new").exists() and len(os.listdir("/proc/self/fd")) == open_before
        await book.append({"next": 1})
        filler.unlink()
        await book.append(*({"forget": f"unit-{n}"} for n in range(3 * journal.REWRITE_AFTER)))
        book.rewrite_if_long(lambda: [{"next": 7}])
        book.close()
        assert read(path) == [{"next": 7}]


async def test_nobody_is_told_before_the_journal_was_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    synchronised: list[tuple[str, bytes]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        synchronised.append((name, Path(name).read_bytes() if os.path.isfile(name) else b""))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    book = Journal(path)
    try:
        assert (str(tmp_path), b"") in synchronised, "the name"
        for record in RECORDS[:3]:
            synchronised.clear()
            await book.append(record)
            ((name, content),) = synchronised
            assert (
                name == str(path) and content == path.read_bytes() and content.count(b"\n") == RECORDS.index(record) + 1
            )
        monkeypatch.setattr(journal, "REWRITE_AFTER", 1)
        synchronised.clear()
        book.rewrite_if_long(lambda: RECORDS[:1])
        (fresh, content), (folder, _) = synchronised
        assert Path(fresh).parent == tmp_path and fresh != str(path) and folder == str(tmp_path)
        assert content == path.read_bytes() and read(path) == RECORDS[:1]
    finally:
        book.close()
