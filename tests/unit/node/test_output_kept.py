"""Output is neither lost nor repeated when the node is killed between any two of its steps, and all of it together is
bounded."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeport.node import logfiles, output, pipes
from homeport.node.logfiles import read_log, read_log_before
from homeport.node.output import Log, Shelf
from homeport.node.pipes import Pipe
from homeport.testing.small_disk import fill, small_disk


class Killed(BaseException):
    """The node is killed here."""


class Node:
    """What one node does with one unit's pipes, by the same calls as `homeport.node.unit`."""

    def __init__(self, folder: Path, limit: int = 40_000) -> None:
        self.log = Log(folder / "log", limit)
        self.pipes = [Pipe(folder / f"{stream}.pipe", stream, mark) for stream, mark in zip(STREAMS, self.log.marks)]  # noqa: B905

    def turn(self) -> bool:
        more = False
        for pipe in self.pipes:
            lines, again = pipe.read()
            more = more or again
            if lines:
                stdout, stderr = (one.position for one in self.pipes)
                if self.log.write(pipe.stream, lines, (stdout, stderr)):
                    pipe.settle()
        return more


STREAMS = ("stdout", "stderr")
STEPS = ("splice", "pread", "write", "ftruncate", "unlink", "open")


@pytest.fixture
def closing() -> Iterator[None]:
    """Closes what killed nodes left open in this process, as the kernel would."""
    before = {*os.listdir("/proc/self/fd")}
    yield
    for name in {*os.listdir("/proc/self/fd")} - before:
        with contextlib.suppress(OSError):
            os.close(int(name))


@pytest.mark.usefixtures("closing")
@pytest.mark.parametrize("seed", range(12))
def test_a_node_killed_between_any_two_steps_loses_and_repeats_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(pipes, "HOLE_BYTES", 10_000)
    writers = []
    for stream in STREAMS:
        os.mkfifo(tmp_path / f"{stream}.pipe")
        writers.append(os.open(tmp_path / f"{stream}.pipe", os.O_RDWR | os.O_NONBLOCK))
    deaths = _mortal(monkeypatch, chance)
    sent = {stream: 0 for stream in STREAMS}
    unsent = {stream: b"" for stream in STREAMS}
    seen: dict[str, list[str]] = {stream: [] for stream in STREAMS}
    offset = 0
    node: Node | None = None
    for _ in range(400):
        for stream, writer in zip(STREAMS, writers, strict=True):
            while len(unsent[stream]) < 3000:
                sent[stream] += 1
                unsent[stream] += f"{stream} {sent[stream]} {'ö' * chance.randrange(400)}\n".encode()
            try:
                done = os.write(writer, unsent[stream][: chance.randrange(1, 3000)])
                unsent[stream] = unsent[stream][done:]
            except BlockingIOError:
                pass
        try:
            node = node or Node(tmp_path, 10_000_000)
            node.turn()
        except Killed:
            node = None
        deaths.append(0)
        for line in read_log(tmp_path / "log", offset, 10_000):
            seen[line.stream].append(line.text.rsplit(" ", 1)[0])
            offset = line.offset
    for stream in STREAMS:
        assert seen[stream] == [f"{stream} {n}" for n in range(1, len(seen[stream]) + 1)]
        assert len(seen[stream]) > 300
    assert sum(deaths) > 20
    for spool in tmp_path.glob("*.spool"):
        assert spool.stat().st_blocks * 512 < 200_000


def _mortal(monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> list[int]:
    """Die now and then before or after a step; returns the list of deaths."""
    deaths: list[int] = []

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **more: object) -> object:
            if (place := chance.randrange(60)) == 0:
                deaths.append(1)
                raise Killed
            result = real(*arguments, **more)
            if place == 1:
                deaths.append(1)
                raise Killed
            return result

        return step

    for module in (logfiles, output, pipes):
        fake = type("os", (), {name: getattr(os, name) for name in dir(os) if not name.startswith("__")})
        for name in STEPS:
            setattr(fake, name, staticmethod(wrap(getattr(os, name))))
        monkeypatch.setattr(module, "os", fake)
    return deaths


def test_a_batch_that_a_killed_node_wrote_half_is_written_again_whole(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 1_000_000)
    log.write("stdout", ["one", "two"], (8, 0))
    size = os.stat(next((tmp_path / "log").iterdir())).st_size
    log.write("stdout", ["three", "four", "five"], (24, 5))
    log.close()
    file = next((tmp_path / "log").iterdir())
    data = file.read_bytes()
    for length in range(size, len(data)):
        file.write_bytes(data[:length])
        again = Log(tmp_path / "log", 1_000_000)
        assert again.marks == (8, 0)
        assert [line.text for line in read_log(tmp_path / "log", 0, 10)] == ["one", "two"]
        again.close()
    file.write_bytes(data)
    whole = Log(tmp_path / "log", 1_000_000)
    assert whole.marks == (24, 5)
    whole.close()


def test_a_log_of_an_earlier_version_is_read_and_continued(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "000000000000000.jsonl").write_text('["2026-11-23T00:00:00.000000Z","stdout","old"]\n["2026-11')
    log = Log(folder, 1_000_000)
    log.write("stderr", ["new"], (0, 4))
    assert [line.text for line in read_log(folder, 0, 10)] == ["old", "new"]
    log.close()


def test_a_reader_that_falls_behind_is_told_and_goes_on_with_the_oldest_kept_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 64 * 1024)
    log.write("stdout", ["first"])
    follower = read_log(tmp_path / "log", 0, 1)[-1].offset
    for number in range(5000):
        log.write("stdout", [f"line {number}"])
    told, oldest, *_ = read_log(tmp_path / "log", follower, 100)
    missing = int(told.text.split()[1])
    assert oldest.text == f"line {missing - 1}" and told.time < oldest.time
    assert read_log(tmp_path / "log", told.offset, 1) == [oldest]
    log.close()


def test_the_output_of_all_units_is_bounded_at_the_expense_of_what_ended_first(tmp_path: Path) -> None:
    shelf = Shelf(400_000)
    folders = [tmp_path / str(number) for number in range(10)]
    for folder in folders:
        log = Log(folder, 10_000_000)
        log.write("stdout", ["x" * 1000] * 100)
        log.close()
        shelf.add(folder)
        shelf.trim([])
    kept = [folder for folder in folders if len(read_log(folder, 0, 1000)) == 100]
    assert kept == folders[-3:]
    for folder in folders[:-3]:
        (line,) = read_log(folder, 0, 1000)
        assert "100 lines of output before this were dropped" in line.text
        assert read_log_before(folder, datetime(9000, 1, 1, tzinfo=UTC), 10) == [line]
        assert read_log(folder, line.offset, 10) == []
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl")) <= 400_000
    living = [Log(tmp_path / f"living-{number}", 10_000_000) for number in range(3)]
    for number, log in enumerate(living):
        log.write("stdout", ["y" * 1000] * 100 * (number + 1))
    shelf.trim(living)
    assert sum(log.kept_bytes for log in living) <= 400_000
    assert all(len(read_log(folder, 0, 10)) == 1 for folder in folders), "those that ended went first"
    assert len(read_log(tmp_path / "living-0", 0, 1000)) == 100, "then the longest"
    for log in living:
        log.write("stdout", ["after"])
        log.close()
    assert read_log(tmp_path / "living-2", 0, 1000)[-1].text == "after"


def test_a_full_disk_loses_whole_batches_and_says_how_many_lines(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as place:
        log = Log(place / "log", 10_000_000)
        log.write("stdout", ["before"])
        filler = fill(place)
        results = [log.write("stdout", ["x" * 5000, "y"]) for _ in range(4)]
        assert results[-2:] == [False, False]
        filler.unlink()
        assert log.write("stderr", ["after"])
        texts = [(line.stream, line.text) for line in read_log(place / "log", 0, 100)]
        lost = 2 * results.count(False)
        assert texts[-2:] == [
            ("stderr", f"[homeport] {lost} lines of output were lost: the disk was full"),
            ("stderr", "after"),
        ]
        log.close()


def test_a_pipe_of_a_full_disk_is_read_past_the_spool(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as place:
        path = place / "stdout.pipe"
        os.mkfifo(path)
        writer = os.open(path, os.O_RDWR)
        pipe = Pipe(path, "stdout", 0)
        os.write(writer, b"one\nhalf ")
        assert pipe.read()[0] == ["one"] and pipe.position == 4
        filler = fill(place)
        os.write(writer, b"x" * 9000 + b"\ntwo\n")
        found: list[str] = []
        while (read := pipe.read())[1]:
            found += read[0]
        assert found == ["half " + "x" * 9000, "two"]
        filler.unlink()
        os.write(writer, b"three\n")
        assert pipe.read()[0] == ["three"]
        assert pipe.close() == []
        again = Pipe(path, "stdout", pipe.position)
        assert again.read() == ([], False)
        again.close()
        os.close(writer)
