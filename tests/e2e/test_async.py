"""Asynchronous calls of agents, from the client's POST to the callback, through real processes, also while they die."""

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from blaxel.core.common.webhook import verify_webhook_signature

from homeport.settings import DataDir
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

# Writes down each call that reaches it, and answers as the path asks.
PROGRAM = """
import http.server, json, os, socket, threading, time

lock = threading.Lock()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        ident, attempt = self.headers.get("X-Homeport-Invocation-Id"), int(self.headers.get("X-Homeport-Attempt") or 0)
        with lock:
            print(json.dumps({"id": ident, "attempt": attempt, "path": self.path, "body": body,
                              "headers": dict(self.headers.items())}), flush=True)
        words = self.path.partition("?")[0].strip("/").split("/")
        status = 200
        if words[0] == "status":
            status = int(words[1])
        elif words[0] == "third" and attempt < 3:
            status = 503
        elif words[0] == "slow":
            time.sleep(float(words[1]))
        elif words[0] == "break" and attempt == 1:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        answer = json.dumps({"path": self.path, "body": body}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
FILES = {"main.py": PROGRAM, "blaxel.toml": '[entrypoint]\nprod = "python main.py"\n'}
CONFIG = '[invocations]\ncallback_networks = ["127.0.0.1/32"]\nbody_mb = 1\nparallel_per_agent = 50\n'
ENDED = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    data = DataDir(tmp_path_factory.mktemp("async") / "data")
    data.root.mkdir()
    data.config.write_text(CONFIG)
    running = System(data.root)
    running.up()
    yield running
    running.down()


class Receiver:
    """Where callbacks go: remembers them, and answers 500 for as many as `failures` says."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.failures = 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                failing, receiver.failures = receiver.failures > 0, receiver.failures - 1
                self.send_response(500 if failing else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def trigger(**configuration: Any) -> dict[str, Any]:
    return {"triggers": [{"id": "later", "type": "http-async", "configuration": configuration}]}


def call(here: System, agent: str, path: str = "", body: bytes = b"{}") -> str:
    answer = here.gateway.post(f"/agents/{agent}{path}?async=true", content=body)
    assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text
    return answer.headers["X-Homeport-Invocation-Id"]


def ended(here: System, ident: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = here.api.get(f"/homeport/invocations/{ident}").json()
        return found if found["status"] in ENDED else None

    return eventually(look, f"{ident} has ended")


def heard(here: System, agent: str) -> list[dict[str, Any]]:
    """The calls that reached the program."""
    return [json.loads(line["text"]) for line in here.logs("agents", agent) if line["text"].startswith("{")]


def test_a_call_is_answered_at_once_and_made_as_it_would_have_been(here: System) -> None:
    here.deploy("agents", "plain", FILES)
    answer = here.gateway.post(
        "/agents/plain/slow/1?async=true&k=1",
        content=b"hello",
        headers={"X-Thing": "t", "X-Homeport-Attempt": "9", "X-Hp-Call": "forged"},
    )
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    ident = answer.headers["X-Homeport-Invocation-Id"]
    waiting = here.api.get(f"/homeport/invocations/{ident}").json()
    assert waiting["status"] in ("queued", "running")
    found = ended(here, ident)
    assert (found["status"], found["attempts"], found["response"]["status"]) == ("succeeded", 1, 200)
    assert json.loads(found["response"]["body"]) == {"path": "/slow/1?k=1", "body": "hello"}
    (seen,) = [one for one in heard(here, "plain") if one["id"] == ident]
    assert (seen["attempt"], seen["body"], seen["headers"]["x-thing"]) == (1, "hello", "t")
    assert not [name for name in seen["headers"] if name in ("authorization", "x-hp-call", "x-hp-invoke")]
    assert here.key not in json.dumps(seen)


def test_only_who_may_run_the_agent_may_call_it_later_and_a_get_is_no_such_call(here: System) -> None:
    here.deploy("agents", "plain", FILES)
    stranger = httpx.post(f"{here.url}/default/agents/plain?async=true")
    assert stranger.status_code == 401
    assert here.gateway.get("/agents/plain?async=true").status_code == 501  # the program's own answer
    nobody = here.gateway.post("/agents/nobody?async=true")
    assert nobody.status_code == 404


def test_a_body_past_the_limit_is_413(here: System) -> None:
    here.deploy("agents", "plain", FILES)
    url = "/agents/plain?async=true"
    assert here.gateway.post(url, content=b"x" * (1024 * 1024)).status_code == 200
    refused = here.gateway.post(url, content=b"x" * (1024 * 1024 + 1))
    assert refused.status_code == 413 and "1048576 bytes" in refused.text
    chunked = here.gateway.post(url, content=(b"x" * 65536 for _ in range(17)))
    assert chunked.status_code == 413


def test_retries_follow_5xx_and_broken_connections_and_never_a_404(here: System) -> None:
    here.deploy("agents", "again", FILES, trigger(retry=2, timeout=20))
    third, broken, gone = (call(here, "again", path) for path in ("/third", "/break", "/status/404"))
    found = ended(here, third)
    assert (found["status"], found["attempts"]) == ("succeeded", 3)
    assert [one["status"] for one in found["attemptList"]] == [503, 503, 200]
    assert [one["end"] for one in ended(here, broken)["attemptList"]] == ["broken", "answered"]
    found = ended(here, gone)
    assert (found["status"], found["attempts"], found["message"]) == ("failed", 1, "answered 404")


def test_a_call_that_takes_too_long_times_out_and_is_given_up_with_an_event(here: System) -> None:
    here.deploy("agents", "late", FILES, trigger(timeout=1))
    found = ended(here, call(here, "late", "/slow/30"))
    assert (found["status"], found["message"]) == ("failed", "timed out after 1 s")
    events = here.api.get("/agents/late").json()["events"]
    assert [event["reason"] for event in events if event["type"] == "invocation"] == ["InvocationGivenUp"]


def test_a_call_is_cancelled_while_it_runs_and_made_again(here: System) -> None:
    here.deploy("agents", "stuck", FILES)
    ident = call(here, "stuck", "/slow/60")
    eventually(lambda: [one for one in heard(here, "stuck") if one["id"] == ident], "the program has it")
    done = here.command("invocations", "cancel", ident)
    assert (done.returncode, done.stdout) == (0, f"{ident} is being cancelled\n")
    assert ended(here, ident)["status"] == "cancelled"
    first = call(here, "stuck", "/x", b"once")
    ended(here, first)
    again = json.loads(here.command("invocations", "replay", first, "-o", "json").stdout)
    assert again["replayOf"] == first
    assert ended(here, again["id"])["status"] == "succeeded"
    assert [one["body"] for one in heard(here, "stuck") if one["path"] == "/x"] == ["once", "once"]
    shown = here.command("invocations", "list", "--agent", "stuck", "--status", "succeeded")
    assert again["id"] in shown.stdout and first in shown.stdout and ident not in shown.stdout
    assert "answer: 200" in here.command("invocations", "get", first).stdout


def test_the_result_is_posted_signed_and_again_until_it_is_taken(here: System, receiver: Receiver) -> None:
    accepted = here.accept("agents", "told", trigger(callbackUrl=receiver.url))
    secret = accepted.json()["spec"]["triggers"][0]["configuration"]["callbackSecret"]
    here.deploy("agents", "told", FILES, trigger(callbackUrl=receiver.url))
    kept = here.api.get("/agents/told", params={"show_secrets": "true"}).json()
    assert set(kept["spec"]["triggers"][0]["configuration"]["callbackSecret"]) == {"*"}
    receiver.failures = 1
    ident = call(here, "told", "/status/404", b"what")
    ended(here, ident)
    eventually(lambda: len(receiver.got) == 2, "the callback was taken")
    for headers, body in receiver.got:
        signature, moment = headers["x-blaxel-signature"], headers["x-blaxel-timestamp"]
        assert verify_webhook_signature(body, signature, secret, timestamp=moment)
        assert not verify_webhook_signature(body + b" ", signature, secret, timestamp=moment)
    result = json.loads(receiver.got[-1][1])
    assert result["status_code"] == 404 and json.loads(result["response_body"])["body"] == "what"
    assert result["response_length"] == len(result["response_body"])
    found = eventually(
        lambda: (
            (one := here.api.get(f"/homeport/invocations/{ident}").json())["callback"]["status"] == "delivered" and one
        ),
        "it is written down",
    )
    assert (found["callback"]["attempts"], found["callback"]["answer"]) == (2, 204)
    rotated = json.loads(here.command("invocations", "rotate-secret", "told", "-o", "json").stdout)
    assert rotated["callbackSecret"] != secret
    ended(here, call(here, "told"))
    eventually(lambda: len(receiver.got) == 3, "the next callback")
    headers, body = receiver.got[-1]
    assert verify_webhook_signature(body, headers["x-blaxel-signature"], rotated["callbackSecret"])


def test_calls_that_wait_end_with_their_agent(here: System) -> None:
    here.deploy("agents", "gone", FILES, trigger(retry=50))
    ident = call(here, "gone", "/status/500")
    eventually(lambda: here.api.get(f"/homeport/invocations/{ident}").json()["attempts"], "it was tried")
    here.remove("agents", "gone")
    found = ended(here, ident)
    assert found["status"] == "cancelled" and found["message"] == "its agent was deleted"


def test_nothing_accepted_is_lost_and_nothing_that_ended_runs_again_when_any_of_them_is_killed(here: System) -> None:
    here.deploy("agents", "tough", FILES, trigger(retry=20))
    idents: list[str] = []

    def kill(*names: str) -> None:
        state = read_state(here.data)
        for name in names:
            process = state.components[name]
            os.kill(process.pid, signal.SIGKILL)

    def accept(client: httpx.Client) -> str | None:
        try:
            answer = client.post("/agents/tough/slow/0.05?async=true", content=b"{}", timeout=30)
        except httpx.TransportError:
            return None  # nobody said that it was accepted
        return answer.headers["X-Homeport-Invocation-Id"] if answer.status_code == 200 else None

    rounds = (("edge",), ("server", "edge"), ("server", "edge", "envoy"))
    with httpx.Client(base_url=f"{here.url}/default", headers={"Authorization": f"Bearer {here.key}"}) as client:
        for number, names in enumerate(rounds):
            for step in range(25):
                idents.append(eventually(lambda: accept(client), f"a call is accepted in round {number}"))
                if step == 12:
                    kill(*names)
        eventually(here.lives, "all are back")
    assert len(set(idents)) == len(idents) == 75
    results = {ident: ended(here, ident) for ident in idents}
    assert {found["status"] for found in results.values()} == {"succeeded"}
    for ident, found in results.items():
        assert [one["end"] for one in found["attemptList"]].count("answered") == 1, found
        assert found["attemptList"][-1]["end"] == "answered", ident
    reached = {one["id"] for one in heard(here, "tough")}
    assert reached.issuperset(idents)
