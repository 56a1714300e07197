"""What a stop waits for, in which order and how long; what it says in the end."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeport.settings import DataDir
from homeport.supervise import drain as draining
from homeport.supervise.drain import Patience, RealPlant, Work, drain, sentences

IDLE = Work(known=True, requests=0)


class Plant:
    """Work under way that ends at given times of a clock of its own."""

    def __init__(
        self,
        *,
        tasks_end_s: float = 0.0,
        requests_end_s: float = 0.0,
        unknown_s: tuple[float, float] = (-1.0, -1.0),
    ) -> None:
        self.time = 0.0
        self.did: list[tuple[str, float]] = []
        self._tasks_end_s, self._requests_end_s, self._unknown_s = tasks_end_s, requests_end_s, unknown_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    def pause(self) -> None:
        self.did.append(("pause", self.time))

    def close_gateway(self) -> None:
        self.did.append(("close", self.time))

    def work(self) -> Work:
        requests = 3 if self.time < self._requests_end_s else 0
        if self._unknown_s[0] <= self.time <= self._unknown_s[1]:
            return Work(requests=requests)
        return Work(known=True, tasks=2 if self.time < self._tasks_end_s else 0, requests=requests)

    def drained(self, seconds: float, hurried_at_s: float = 1e9) -> draining.Stopped:
        def wait(seconds: float) -> None:
            self.time = round(self.time + seconds, 6)

        patience = Patience(seconds=seconds, unknown_s=1.5, wait=wait, hurried=lambda: self.time >= hurried_at_s)
        return drain(self, patience, self, lambda work, left_s: None)


def test_nothing_is_waited_for_where_nothing_is_under_way() -> None:
    plant = Plant()
    assert plant.drained(30).waited_s == 0
    assert plant.did == [("pause", 0), ("close", 0)]


def test_the_gateway_is_open_while_tasks_run_and_requests_are_awaited_after_that() -> None:
    plant = Plant(tasks_end_s=5, requests_end_s=9)
    stopped = plant.drained(30)
    assert plant.did == [("pause", 0), ("close", 5)]
    assert (stopped.waited_s, stopped.work) == (9, IDLE)


def test_tasks_that_take_all_the_time_leave_a_fifth_of_it_to_requests() -> None:
    plant = Plant(tasks_end_s=100, requests_end_s=9)
    stopped = plant.drained(30)
    assert plant.did == [("pause", 0), ("close", 24)]
    assert (stopped.waited_s, stopped.work.tasks) == (30, 2)


def test_requests_that_go_on_are_cut_when_the_time_is_over() -> None:
    stopped = Plant(requests_end_s=100).drained(30)
    assert (stopped.waited_s, stopped.work.requests) == (30, 3)
    assert "3 requests cut" in stopped.sentences()[0]


def test_a_time_of_zero_waits_for_nothing() -> None:
    stopped = Plant(tasks_end_s=5).drained(0)
    assert (stopped.waited_s, stopped.work.tasks) == (0, 2)


def test_a_hurry_ends_the_wait() -> None:
    assert Plant(tasks_end_s=100).drained(30, hurried_at_s=2).waited_s == 2


def test_without_a_server_requests_are_awaited_and_nothing_is_claimed_to_be_known() -> None:
    stopped = Plant(unknown_s=(0, 100), requests_end_s=4).drained(30)
    assert stopped.waited_s == 4
    assert stopped.sentences()[0].startswith("stopped without knowing what was under way")


def test_a_server_that_starts_again_meanwhile_is_waited_for() -> None:
    plant = Plant(tasks_end_s=5, unknown_s=(2, 2.9))
    stopped = plant.drained(30)
    assert plant.did == [("pause", 0), ("close", 5)]
    assert stopped.work == IDLE


def test_what_was_stopped_and_what_goes_on_is_said_in_numbers() -> None:
    work = Work(
        known=True, agents=3, replicas=5, tasks=12, executions=2, waiting_tasks=340, builds=1, calls=7, requests=1
    )
    assert draining.Stopped(waited_s=30, work=work).sentences() == [
        "stopped: 3 agents (5 replicas), 12 running tasks of 2 executions, 1 build, 1 request cut",
        "at the next `homeport up`: 3 agents start again; 12 stopped tasks start again, which costs no retry; "
        "340 waiting tasks go on; 7 asynchronous calls go on; 1 build begins anew",
        "nothing that was accepted is lost",
    ]
    assert sentences({"waitedSeconds": 0, **IDLE.to_json(), "resumes": []})[0] == "stopped: nothing was running"


ANSWER = b'{"agents":1,"replicas":1,"tasks":2,"executions":1,"waiting_tasks":0,"builds":0}'


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[DataDir]:
    """Answers once, and takes every later question without an answer."""
    data = DataDir(tmp_path)
    data.create()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data.socket("internal")))
        listener.listen()
        threading.Thread(target=_answer_once, args=(listener,), daemon=True).start()
        yield data


def _answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))


def test_what_a_slow_server_said_last_holds_and_a_dead_one_says_nothing(
    slow_server: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "_ANSWER_S", 0.2)
    plant = RealPlant(slow_server)
    first = plant.work()
    assert (first.known, first.tasks, first.requests) == (True, 2, None)
    assert plant.work() == first
    slow_server.socket("internal").unlink()
    assert plant.work() == replace(Work(), requests=None)
