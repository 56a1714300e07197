"""A unit's output: whole lines, bounded lines, a bounded log, and offsets that stay valid."""

import os
from pathlib import Path

from homeport.node.output import LINE_CHARACTERS, Log, Pipe, read_log


def pipe_pair(folder: Path) -> tuple[Pipe, int]:
    path = folder / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    return Pipe(path, "stdout"), writer


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
    assert {len(piece) for piece in pieces} == {LINE_CHARACTERS}
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
    assert early.text != "line 0"
    offset, texts = 0, []
    while lines := read_log(tmp_path / "log", offset, 100):
        texts += [line.text for line in lines]
        offset = lines[-1].offset
    first = int(texts[0].split()[1])
    assert texts == [f"line {number}" for number in range(first, 5000)]
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
