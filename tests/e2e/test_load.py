"""`homeport load` against a real agent: every request and every byte is accounted for, and a person sees it."""

import json
import os
import pty
import select
import sys
import time
from collections.abc import Iterator

import pytest

from homeport.load.plan import Expectation, Plan
from homeport.load.thread import running_load
from homeport.testing.system import BOUND_S, System, eventually

# Streams as many numbered lines as asked for, and leaves one out when that is asked for.
PROGRAM = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, count, missing = self.path.split("/")
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(count)):
            if str(number) != missing:
                line = b"%d\\n" % number
                self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line))
                time.sleep(0.002)
        self.wfile.write(b"0\\r\\n\\r\\n")

    def do_DELETE(self):
        os._exit(1)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def counter(system: System) -> Iterator[str]:
    assert system.deploy("agents", "counter", {"main.py": PROGRAM})["status"] == "DEPLOYED"
    yield "counter"
    system.remove("agents", "counter")


def test_a_stream_of_numbered_lines_is_proved_whole(system: System, counter: str) -> None:
    asked = ("--path", "100/none", "--numbered", "--expect-lines", "100")
    done = system.command("load", counter, "-n", "12", "-c", "4", *asked, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["started"], report["ok"]) == (12, 12)
    assert 12 < report["chunks"] <= 1200  # Envoy may send what came together as one
    assert report["receivedBytes"] == 12 * sum(len(f"{number}\n") for number in range(100))


def test_a_missing_line_fails_the_run_and_is_named(system: System, counter: str) -> None:
    done = system.command("load", counter, "-n", "3", "--path", "100/41", "--numbered")
    assert done.returncode == 1
    assert "3 started = 0 ok + 3 failed + 0 abandoned" in done.stdout
    assert "3 x wrong: line 42 is number 42 in place of 41: missing" in done.stdout


def test_a_program_that_dies_cuts_its_streams_and_each_is_counted(system: System, counter: str) -> None:
    headers = {"Authorization": f"Bearer {system.key}"}
    url = f"{system.url}/default/agents/{counter}/2000/none"
    with running_load(
        Plan(url=url, headers=headers, requests=5, concurrency=5, expect=Expectation(lines=2000))
    ) as load:
        eventually(lambda: load.so_far().in_flight == 5, "five streams flow")
        assert system.gateway.delete(f"/agents/{counter}/").status_code == 502
    report = load.report
    assert report.started == report.failed == 5
    assert set(report.causes) <= {"cut", "status"}, report


def test_an_agent_that_does_not_exist_is_told_before_any_load(system: System) -> None:
    done = system.command("load", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no agent 'nobody'" in done.stderr


def test_ctrl_c_ends_the_run_and_prints_what_was_counted(system: System, counter: str) -> None:
    words = ["load", counter, "--path", "50/none", "--duration", "1h", "-c", "2"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["HOMEPORT_DATA"] = str(system.data.root)
        os.execv(sys.executable, [sys.executable, "-c", "from homeport.cli.main import run; run()", *words])
    shown, asked = "", False
    deadline = time.monotonic() + BOUND_S
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            shown += os.read(terminal, 65536).decode("utf-8", "replace")
        except OSError:
            break  # it has ended
        if not asked and " ok · 0 failed · " in shown:
            os.write(terminal, b"\x03")
            asked = True
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130, shown
    assert " ok + 0 failed + 0 abandoned" in shown and "throughput" in shown
