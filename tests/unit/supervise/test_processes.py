"""Processes held by pidfd: identity, the door that a process waits at, the end."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from homeport.supervise.processes import Handle, ProcessId, identify, spawn


def test_a_handle_is_given_for_the_same_process_only() -> None:
    own = identify(os.getpid())
    assert own is not None
    held = Handle.open(own)
    assert held is not None
    held.close()
    assert Handle.open(replace(own, started=own.started - 1)) is None
    assert Handle.open(replace(own, boot="another")) is None


def test_an_identity_survives_its_file() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert ProcessId.from_json(own.to_json()) == own


def test_a_process_becomes_its_program_only_when_admitted(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    starting = spawn(["/bin/sh", "-c", f"echo $$ > {mark}; echo said"], log=tmp_path / "log")
    with starting.handle as handle:
        assert not handle.ended(0.2)
        assert not mark.exists()
        starting.admit()
        assert handle.ended(10)
        assert int(mark.read_text()) == handle.identity.pid
        assert handle.how() == "ended with exit code 0"
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_process_at_the_door_ends_when_its_parent_dies(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from homeport.supervise.processes import spawn\n"
        f"starting = spawn(['/bin/sh', '-c', 'touch {tmp_path}/ran'], log=Path('{tmp_path}/log'))\n"
        "print(starting.handle.identity.pid, flush=True); os._exit(0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    pid = int(answer.stdout)
    deadline = time.monotonic() + 10
    while identify(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not (tmp_path / "ran").exists()


def test_the_end_by_a_signal_is_told(tmp_path: Path) -> None:
    starting = spawn(["/bin/sleep", "60"], log=tmp_path / "log")
    starting.admit()
    with starting.handle as handle:
        handle.send(signal.SIGKILL)
        assert handle.ended(10)
        assert handle.how() == "was killed by SIGKILL"
        handle.send(signal.SIGTERM)  # to a process that has ended: nothing happens
