"""A unit's output: whole lines, bounded lines, a bounded log, and offsets that stay valid."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homeport.core.clock import SystemClock
from homeport.node.logfiles import STAMP_STEP, read_log, read_log_before
from homeport.node.output import Log
from homeport.node.pipes import LINE_BYTES, Pipe


def pipe_pair(folder: Path) -> tuple[Pipe, int]:
    path = folder / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    return Pipe(path, "stdout", 0), writer


def test_lines_are_put_together_across_reads_and_the_rest_comes_at_the_end(tmp_path: Path) -> None:
    pipe, writer = pipe_pair(tmp_path)
    os.write(writer, b"eins\r\nzw")
    assert pipe.read() == (["eins"], True)
    os.write(writer, "ö".encode()[:1])
    assert pipe.read()[0] == []
    os.write(writer, "ölf".encode()[1:] + b"\n\nlast")
    assert pipe.read()[0] == ["zwölf", ""]
    os.close(writer)
    assert pipe.close() == ["last"]


def test_a_line_without_end_is_cut_into_bounded_pieces(tmp_path: Path) -> None:
    pipe, writer = pipe_pair(tmp_path)
    pieces: list[str] = []
    for _ in range(5):
        os.write(writer, b"x" * 10_000)
        pieces += pipe.read()[0]
    assert {len(piece) for piece in pieces} == {LINE_BYTES}
    assert len("".join([*pieces, *pipe.close()])) == 50_000
    os.close(writer)


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    pipe, writer = pipe_pair(tmp_path)
    os.write(writer, b"\xff\xfe\x00ok\n")
    log = Log(tmp_path / "log", 1_000_000)
    log.write("stdout", pipe.read()[0])
    assert read_log(tmp_path / "log", 0, 10)[0].text.endswith("ok")
    log.close()
    pipe.close()
    os.close(writer)


def test_a_log_drops_its_oldest_lines_and_keeps_its_offsets(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 64 * 1024)
    for number in range(5000):
        log.write("stdout", [f"line {number}"])
        if number == 4999:
            early = read_log(tmp_path / "log", 0, 1)[0]
    kept = sum(path.stat().st_size for path in (tmp_path / "log").iterdir())
    assert 32 * 1024 < kept <= 64 * 1024 + 4096
    assert early.text.startswith("[homeport] ") and early.time < read_log(tmp_path / "log", early.offset, 1)[0].time
    offset, texts = early.offset, []
    while lines := read_log(tmp_path / "log", offset, 100):
        texts += [line.text for line in lines]
        offset = lines[-1].offset
    first = int(texts[0].split()[1])
    assert texts == [f"line {number}" for number in range(first, 5000)]
    assert f" {first} lines of output before this were dropped" in early.text
    assert read_log_before(tmp_path / "log", LATER, 10_000)[0] == early
    log.write("stderr", ["after"])
    assert [(line.stream, line.text) for line in read_log(tmp_path / "log", offset, 100)] == [("stderr", "after")]
    log.close()


def test_half_a_line_of_a_killed_node_is_cut_off(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 1_000_000)
    log.write("stdout", ["whole"])
    log.close()
    with open(next((tmp_path / "log").iterdir()), "ab") as file:
        file.write(b'["2026-11-23T00:00:00Z","stdout","ha')
    again = Log(tmp_path / "log", 1_000_000)
    again.write("stdout", ["next"])
    assert [line.text for line in read_log(tmp_path / "log", 0, 10)] == ["whole", "next"]
    again.close()


LATER = datetime(9000, 1, 1, tzinfo=UTC)


def test_every_line_has_a_time_of_its_own_and_times_grow(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 1_000_000)
    for _ in range(50):
        log.write("stdout", ["the same"] * 20)
    log.write("stderr", [])
    times = [line.time for line in read_log(tmp_path / "log", 0, 10_000)]
    assert len(times) == 1000 and times == sorted(set(times))
    assert abs(times[-1] - SystemClock().now()) < timedelta(minutes=1)
    log.close()


def test_a_log_is_read_backwards_across_its_files_and_blocks(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 512 * 1024)
    for number in range(300):  # lines longer than a block among short ones
        log.write("stdout", [f"line {number} " + "ü" * (number % 7) * 2000, f"short {number}"])
    every = read_log(tmp_path / "log", 0, 10_000)
    assert len(list((tmp_path / "log").iterdir())) > 3
    for limit in (1, 7, 10_000):
        before, found = LATER, []
        while lines := read_log_before(tmp_path / "log", before, limit):
            assert len(lines) <= limit
            found = lines + found
            before = lines[0].time
        assert found == every
    log.close()


def test_a_time_within_a_log_is_found_whatever_it_falls_on(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 1_000_000)
    assert read_log_before(tmp_path / "log", LATER, 5) == []
    log.write("stdout", [f"line {number}" for number in range(100)])
    every = read_log(tmp_path / "log", 0, 100)
    for place, line in enumerate(every):
        for moment, count in ((line.time, place), (line.time + STAMP_STEP, place + 1)):
            found = read_log_before(tmp_path / "log", moment, 100)
            assert found == every[:count]
    assert read_log_before(tmp_path / "none", LATER, 5) == []
    log.close()
