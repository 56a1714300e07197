"""The node's journal keeps what it acknowledged, wherever the file breaks off."""

import asyncio
from pathlib import Path

from homeport.node import journal
from homeport.node.journal import Journal


async def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal(path)
    await asyncio.gather(*(first.append({"forget": f"unit-{n}"}) for n in range(20)))
    first.close()
    again = Journal(path)
    assert again.records == [{"forget": f"unit-{n}"} for n in range(20)]
    again.close()


async def test_a_file_broken_off_at_any_byte_gives_its_whole_records_and_takes_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = Journal(path)
    records = [{"next": n, "text": "zwölf"} for n in range(3)]
    await whole.append(*records)
    whole.close()
    data = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        broken = Journal(path)
        kept = sum(end <= length for end in ends)
        assert broken.records == records[:kept]
        await broken.append({"new": length})
        broken.close()
        after = Journal(path)
        assert after.records == [*records[:kept], {"new": length}]
        after.close()


async def test_a_record_with_a_flipped_bit_and_what_follows_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    good = Journal(path)
    await good.append({"a": 1}, {"b": 2})
    good.close()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    again = Journal(path)
    assert again.records == [{"a": 1}]
    again.close()


async def test_the_file_stays_bounded_when_units_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    bounded = Journal(path)
    most = 0
    for n in range(3 * journal.REWRITE_AFTER // 16):
        await bounded.append(*({"forget": f"unit-{n}-{m}"} for m in range(16)))
        bounded.rewrite_if_long(lambda: [{"next": 7}])
        most = max(most, path.stat().st_size)
    bounded.close()
    again = Journal(path)
    assert most < 2 * journal.REWRITE_AFTER * 50
    assert again.records[0] == {"next": 7} and len(again.records) <= journal.REWRITE_AFTER
    again.close()


async def test_a_rewrite_waits_for_writers_that_have_not_taken_in_that_their_record_is_durable(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    book = Journal(path)
    kept: list[journal.Record] = []

    async def write(record: journal.Record) -> None:
        await book.append(record)
        kept.append(record)

    async def forget() -> None:
        await book.append(*({"forget": f"unit-{n}"} for n in range(journal.REWRITE_AFTER + 1)))
        book.rewrite_if_long(lambda: kept)

    await asyncio.gather(forget(), write({"end": 1}))  # durable in one turn, and forgetting goes on first
    book.close()
    again = Journal(path)
    assert {"end": 1} in again.records
    again.close()
