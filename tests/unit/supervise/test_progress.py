"""Where what is said cannot be written, what is told about goes on; where things fail, it is said how."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from homeport.core.errors import Unavailable
from homeport.settings import DataDir
from homeport.supervise.down import _follow
from homeport.supervise.holding import PipeHolder
from homeport.supervise.processes import Handle, identify
from homeport.supervise.progress import PlainProgress, Progress, TerminalProgress


@pytest.mark.parametrize("make", [TerminalProgress, PlainProgress])
def test_a_terminal_that_is_gone_stops_nobody(make: Callable[[], Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    terminal: TextIO = os.fdopen(theirs, "w", buffering=1, closefd=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    progress = make()
    progress.step("starting")
    progress.done("started")
    os.close(ours)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(theirs, b"x")
    progress.step("stopping")
    progress.waiting("waiting", " for a request")
    progress.warn("slow")
    progress.done("stopped")
    progress.say("bye")
    progress.close()
    with pytest.raises(OSError, match="Input/output error"):
        terminal.close()  # what it still holds would go to whatever gets its number next
    os.close(theirs)


def test_a_holder_that_cannot_listen_says_why(tmp_path: Path) -> None:
    holder = PipeHolder(tmp_path / "missing" / "pipes.sock")
    with pytest.raises(FileNotFoundError):
        holder.start()
    holder.stop()


def test_a_damaged_state_is_told_by_whoever_follows_a_stop(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = identify(process.pid)
        assert identity is not None
        data.state.write_bytes(b"\xff{")
        with Handle(identity, os.pidfd_open(process.pid)) as handle, pytest.raises(Unavailable, match="is damaged"):
            _follow(data, handle, PlainProgress())
        process.kill()


def test_a_holder_leaves_no_socket(tmp_path: Path) -> None:
    holder = PipeHolder(tmp_path / "pipes.sock")
    holder.start()
    assert (tmp_path / "pipes.sock").exists()
    holder.stop()
    assert not (tmp_path / "pipes.sock").exists()
