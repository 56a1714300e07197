"""`homeport logs -f` and `homeport events --watch` on a real system, while replicas end and revisions change."""

import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from homeport.testing.system import System, eventually

# Prints its numbers, one after the other and for good, from the one in its variables on; ends when it is asked to.
PROGRAM = """
import itertools, os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/exit":
            os._exit(1)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass

def count():
    for number in itertools.count():
        print("ERROR:" if number % 10 == 0 else "INFO:", os.environ["MARK"], number, flush=True)
        time.sleep(0.01)

threading.Thread(target=count, daemon=True).start()
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


class Listener:
    """What a command prints, as it prints it, one object a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(2)
        code = self.process.wait(20)
        self._thread.join(20)
        return code


def deploy(system: System, mark: str) -> str:
    spec = {"runtime": {"envs": [{"name": "MARK", "value": mark}]}}
    deployed = system.deploy("agents", "counter", {"main.py": PROGRAM}, spec)
    assert deployed["status"] == "DEPLOYED", deployed
    return mark


@pytest.fixture(scope="module")
def counting(system: System) -> Iterator[System]:
    deploy(system, "first")
    yield system
    system.remove("agents", "counter")


def test_followers_miss_and_repeat_nothing_across_an_end_and_a_new_revision(counting: System) -> None:
    with (
        counting.begun("logs", "agent", "counter", "-f", "--tail", "3", "-o", "json") as logs,
        counting.begun("logs", "agent", "counter", "-f", "--tail", "1", "--severity", "ERROR", "-o", "json") as errors,
        counting.begun("events", "agent/counter", "--watch", "-o", "json") as events,
    ):
        told, failed, happened = Listener(logs), Listener(errors), Listener(events)
        eventually(lambda: len(told.lines) > 20 and failed.lines, "lines come")
        key = {"Authorization": counting.api.headers["Authorization"]}
        assert httpx.get(f"{counting.url}/default/agents/counter/exit", headers=key).status_code >= 500
        eventually(lambda: len({line["replica"] for line in told.lines}) >= 1 and _restarted(told.lines), "it goes on")
        deploy(counting, "second")
        eventually(lambda: len(_numbers(told.lines, "second")) > 30, "the new revision is followed")
        reasons = lambda: [event.get("reason") for event in happened.lines]  # noqa: E731
        eventually(lambda: {"ReplicaEnded", "Serving"} <= {*reasons()}, "the events come")
        codes = [listener.interrupt() for listener in (told, failed, happened)]
    assert codes == [130, 130, 130]
    assert len({(line["time"], line["text"]) for line in told.lines}) == len(told.lines)
    for life in _lives(told.lines):
        assert life == [*range(life[0], life[0] + len(life))], "no line is missing or comes twice"
    assert len({line["revision"] for line in told.lines}) == 2
    assert all(line["text"].startswith("ERROR") and line["severity"] == "ERROR" for line in failed.lines)
    numbers = [event["number"] for event in happened.lines]
    assert numbers == sorted(set(numbers))


def test_lines_and_events_are_selected_at_the_terminal(counting: System) -> None:
    everything = counting.logs("agents", "counter", tail=500)
    one = everything[len(everything) // 2]
    asked = ("logs", "agent", "counter", "--replica", one["replica"], "--grep", one["text"], "-o", "json")
    found = counting.command(*asked)
    assert found.returncode == 0, found.stderr
    assert one["time"] in found.stdout
    told = counting.command("logs", "agent", "counter", "--tail", "1", "--revision", one["revision"])
    assert f"[{one['revision']} " in told.stdout
    empty = counting.command("logs", "agent", "counter", "--severity", "FATAL")
    assert (empty.returncode, empty.stdout) == (0, "") and "these options" in empty.stderr
    events = counting.command("events", "agent", "counter", "--reason", "Built")
    assert "agent/counter" in events.stdout and "Built rev-" in events.stdout
    refused = counting.command("events", "--since", "yesterday")
    assert refused.returncode != 0 and "--since" in refused.stderr


def _numbers(lines: list[dict[str, Any]], mark: str) -> list[int]:
    return [int(line["text"].split()[2]) for line in lines if line["text"].split()[1] == mark]


def _restarted(lines: list[dict[str, Any]]) -> bool:
    numbers = _numbers(lines, "first")
    return 0 in numbers[1:] and numbers.count(5) >= 1 and numbers[-1] > 5


def _lives(lines: list[dict[str, Any]]) -> list[list[int]]:
    """The numbers of each life of a program: it begins anew at zero, in the same replica or in another one."""
    lives: list[list[int]] = []
    for whose in dict.fromkeys((line["revision"], line["replica"]) for line in lines):
        mine = [int(line["text"].split()[2]) for line in lines if (line["revision"], line["replica"]) == whose]
        for place, number in enumerate(mine):
            if place == 0 or number == 0:
                lives.append([])
            lives[-1].append(number)
    return lives
