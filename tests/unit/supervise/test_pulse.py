"""A component that lives and does not answer: told, then killed and started again; one that goes on in time is not."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeport.core.clock import SystemClock
from homeport.supervise import pulse, supervisor
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.processes import ProcessId
from homeport.supervise.progress import PlainProgress
from homeport.supervise.pulse import Question
from homeport.supervise.supervisor import Component, Supervisor

BOUND_S = 20.0
ANSWERS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1] + ".new")
    server.listen()
    import os
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    while True:
        connection, _ = server.accept()
        connection.recv(100)
        connection.sendall(b"yes")
        connection.close()
"""


class Watch:
    """One component under a supervisor that runs in a thread of its own."""

    def __init__(self, folder: Path, silent_s: float) -> None:
        self.seen: list[ProcessId] = []
        self.said = io.StringIO()
        self._interrupts = Interrupts()
        socket = folder / "socket"
        component = Component(
            name="one",
            argv=[sys.executable, "-c", ANSWERS, str(socket)],
            log=folder / "one.log",
            ready=lambda: (socket.exists(), "not yet"),
            question=Question(socket=socket, text=b"?"),
            silent_s=silent_s,
        )
        self.supervisor = Supervisor(
            [component], book=self, interrupts=self._interrupts, progress=PlainProgress(self.said), clock=SystemClock()
        )
        self._thread = threading.Thread(target=self.supervisor.watch)

    def record(self, name: str, identity: ProcessId | None, version: str = "") -> None:
        if identity is not None:
            self.seen.append(identity)

    def keep(self) -> None:
        pass

    def begin(self) -> None:
        self.supervisor.start()
        self._thread.start()

    def end(self) -> None:
        self._interrupts.count = 1
        self._thread.join(BOUND_S)
        self.supervisor.stop()
        self._interrupts.close()


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Watch]]:
    monkeypatch.setattr(pulse, "ASK_EVERY_S", 0.05)
    monkeypatch.setattr(pulse, "_SLICE_S", 0.1)
    monkeypatch.setattr(supervisor, "_WATCH_S", 0.05)
    monkeypatch.setattr(supervisor, "_WARN_SILENT_S", 0.3)
    begun: list[Watch] = []

    def begin(silent_s: float) -> Watch:
        begun.append(Watch(tmp_path, silent_s))
        begun[-1].begin()
        return begun[-1]

    yield begin
    for one in begun:
        one.end()


def eventually(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not fact():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_one_that_is_halted_for_long_is_killed_and_started_again(watch: Callable[[float], Watch]) -> None:
    watched = watch(1.0)
    os.kill(watched.seen[0].pid, signal.SIGSTOP)
    eventually(lambda: len(watched.seen) == 2, "not started again")
    said = watched.said.getvalue()
    assert "!   one has not answered for 0 s; it is killed in 1 s" in said
    assert "!   one has not answered for 1 s and is killed" in said


def test_one_that_goes_on_in_time_is_left_alone(watch: Callable[[float], Watch]) -> None:
    watched = watch(60.0)
    os.kill(watched.seen[0].pid, signal.SIGSTOP)
    eventually(lambda: "!   one has not answered" in watched.said.getvalue(), "no warning")
    os.kill(watched.seen[0].pid, signal.SIGCONT)
    eventually(lambda: "ok  one answers again" in watched.said.getvalue(), "no relief")
    assert len(watched.seen) == 1
