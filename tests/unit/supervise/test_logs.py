"""Logs stay below their bound, and what is kept of them has no gap."""

import subprocess
import sys
from pathlib import Path

import pytest

from homeport.core import log as logs
from homeport.supervise.logs import _cut_beginning, bound_idle_log, bound_written_log

BOUND_S = 60.0
BYTES = 20_000
# Writes numbered lines in two ways, in order.
LOGGING = f"""
import logging, pathlib, sys
from homeport.core import log
log.LOG_BYTES = {BYTES}
log.configure("one", file=pathlib.Path(sys.argv[1]))
for number in range(3000):
    if number % 3:
        print("number", number, flush=True)
    else:
        logging.info("number %d", number)
"""
# Writes numbered lines until told to stop; knows nothing of bounds.
WRITING = """
import sys, threading
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set())).start()
number = 0
while not stop.is_set():
    print("number", number, flush=True)
    number += 1
"""


def numbers(log: Path) -> list[int]:
    text = "".join(file.read_text() for file in (logs.previous(log), log) if file.exists())
    return [int(line.split()[-1]) for line in text.splitlines() if "number " in line]


def test_a_process_bounds_its_own_log_and_loses_no_line_of_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    with path.open("ab") as output:
        subprocess.run(
            [sys.executable, "-c", LOGGING, str(path)], stdout=output, stderr=output, timeout=BOUND_S, check=True
        )
    kept = numbers(path)
    assert kept == list(range(kept[0], 3000)) and kept[0] > 0
    assert max(path.stat().st_size, logs.previous(path).stat().st_size) < BYTES + 200
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["one.log", "one.log.1"]


def test_a_log_elsewhere_is_never_moved(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.write_text("somebody else's")
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, str(path)], capture_output=True, text=True, timeout=BOUND_S, check=True
    )
    assert "number 2999" in done.stderr + done.stdout
    assert path.read_text() == "somebody else's"


def test_the_log_of_a_process_that_writes_on_is_cut_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.log"
    path.write_bytes(bytes(3 * 4096))
    with path.open("r+b") as file:
        if not _cut_beginning(file.fileno(), 4096):
            pytest.skip("this file system cannot cut off the beginning of a file")
    path.unlink()
    monkeypatch.setattr(logs, "LOG_BYTES", BYTES)
    with path.open("ab") as output:
        writer = subprocess.Popen([sys.executable, "-c", WRITING], stdin=subprocess.PIPE, stdout=output)
    cuts = 0
    while cuts < 20:
        assert writer.poll() is None
        if path.stat().st_size > BYTES:
            bound_written_log(path)
            cuts += 1
            kept = numbers_whole(path)
            assert kept == list(range(kept[0], kept[0] + len(kept)))
    writer.communicate(timeout=BOUND_S)


def numbers_whole(log: Path) -> list[int]:
    """Without the first line and the last, of which a part may be missing: cut off before, or not yet written."""
    text = logs.previous(log).read_text() + log.read_text()
    return [int(line.split()[-1]) for line in text.split("\n")[1:-1]]


def test_a_grown_log_is_moved_aside_before_its_process_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 10)
    path = tmp_path / "one.log"
    bound_idle_log(path)  # nothing there yet
    path.write_text("short")
    bound_idle_log(path)
    assert path.read_text() == "short"
    path.write_text("longer than ten")
    bound_idle_log(path)
    assert not path.exists() and logs.previous(path).read_text() == "longer than ten"
