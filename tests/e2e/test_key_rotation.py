"""Signing keys are exchanged and keys revoked while requests, streams and large bodies flow: none is dropped."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from homeport.load.plan import Expectation, Plan
from homeport.load.thread import running_load
from homeport.testing.system import System, eventually

# Answers with its credentials, with numbered lines for as long as asked, or with the digest of what it was sent.
PROGRAM = """
import hashlib, http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/credentials":
            return self._say(os.environ["BL_CLIENT_CREDENTIALS"].encode())
        count = int(self.path.strip("/") or 0)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            line = b"%d\\n" % number
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line))
            time.sleep(0.01)
        self.wfile.write(b"0\\r\\n\\r\\n")

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            block = self.rfile.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
        self._say(digest.hexdigest().encode())

    def _say(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
BODY = bytes(range(256)) * 40_960  # 10 MB
SECRETS = [{"name": "TOKEN", "value": "hush", "secret": True}]
LINES = 100  # of a stream: it lasts a second and more, longer than a rotation
REVOKED_WITHIN_S = 10.0  # it takes some milliseconds; the machine may be busy


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation of its own: these tests void keys that others would use."""
    system = System(tmp_path_factory.mktemp("keyed") / "data")
    system.up()
    try:
        made = system.deploy("agents", "keyed", {"main.py": PROGRAM}, {"runtime": {"envs": SECRETS}})
        assert made["status"] == "DEPLOYED"
        yield system
    finally:
        system.connect()
        system.down()


def _call(system: System, key: str, path: str = "0") -> httpx.Response:
    url = f"{system.url}/default/agents/keyed/{path}"
    return httpx.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def _plans(system: System, key: str) -> Iterator[Plan]:
    url, headers = f"{system.url}/default/agents/keyed", {"Authorization": f"Bearer {key}"}
    digest = hashlib.sha256(hashlib.sha256(BODY).hexdigest().encode()).hexdigest()
    yield Plan(url=f"{url}/0", headers=headers, concurrency=2, expect=Expectation(size=0))
    streamed = Expectation(numbered=True, lines=LINES)
    yield Plan(url=f"{url}/{LINES}", headers=headers, concurrency=4, expect=streamed)
    sent = Expectation(sha256=digest)
    yield Plan(url=url, headers=headers, method="POST", body=BODY, concurrency=1, expect=sent)


def _token(system: System, client_id: str, secret: str) -> httpx.Response:
    body = {"grant_type": "client_credentials"}
    return httpx.post(f"{system.url}/oauth/token", json=body, auth=(client_id, secret), timeout=60)


def _programs_credentials(system: System) -> tuple[str, str]:
    """BL_CLIENT_CREDENTIALS of the program, as its SDK reads them."""
    import base64

    text = _call(system, system.key, "credentials").text
    client_id, _, secret = base64.b64decode(text).decode().partition(":")
    return client_id, secret


def _shown(system: System) -> list[dict[str, Any]]:
    shown = system.command("keys", "show", "-o", "json")
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)
    return found


def test_rotations_and_revocations_drop_no_request_no_stream_and_no_body(keyed: System) -> None:
    account = keyed.api.post("/service_accounts", json={"name": "robot"}).json()
    at = f"/service_accounts/{account['client_id']}"
    credentials = _programs_credentials(keyed)
    before = keyed.key
    with ExitStack() as stack:
        loads = [stack.enter_context(running_load(plan)) for plan in _plans(keyed, before)]
        for _ in range(2):
            doomed = keyed.api.post(f"{at}/api_keys", json={"name": "doomed"}).json()
            assert _call(keyed, doomed["apiKey"]).status_code == 200
            for words in (("keys", "rotate"), ("secrets", "rotate-key")):
                rotated = keyed.command(*words)
                assert rotated.returncode == 0, rotated.stderr
            made = keyed.api.post(f"{at}/api_keys", json={"name": "made after"}).json()
            assert _call(keyed, made["apiKey"]).status_code == 200, "the gateway knew the new key before it signed"
            assert keyed.api.delete(f"{at}/api_keys/{doomed['id']}").status_code == 200
            eventually(
                lambda k=doomed: _call(keyed, k["apiKey"]).status_code in (401, 403), "revoked", REVOKED_WITHIN_S
            )  # type: ignore[misc]
        for load in loads:
            enough = load.so_far().started + 5
            eventually(lambda o=load, n=enough: o.so_far().started >= n, "each kind goes on")  # type: ignore[misc]
    for load in loads:
        assert load.report.sound and load.report.failed == 0, load.report
    assert _token(keyed, *credentials).status_code == 200, "a program that runs keeps its credentials"
    assert _token(keyed, account["client_id"], account["client_secret"]).status_code == 200
    assert keyed.data.admin_key.read_text().strip() != before, "it is renewed"
    shown = keyed.api.get("/agents/keyed", params={"show_secrets": "true"}).json()
    assert shown["spec"]["runtime"]["envs"] == SECRETS, "sealed anew twice"

    found = _shown(keyed)
    assert [one["signs"] for one in found] == [True, False, False]
    refused = keyed.command("keys", "retire", found[-1]["id"])
    assert refused.returncode == 1 and "API key" in refused.stderr and "--force" in refused.stderr
    forced = keyed.command("keys", "retire", found[-1]["id"], "--force")
    assert forced.returncode == 0, forced.stderr
    assert _call(keyed, before).status_code == 401, "what it signed is void from the answer on"
    keyed.connect()
    assert _call(keyed, keyed.key).status_code == 200


def test_a_key_that_leaked_is_void_at_once_and_a_restart_renews_programs(keyed: System) -> None:
    account = keyed.api.post("/service_accounts", json={"name": "leaky"}).json()
    old, credentials = keyed.key, _programs_credentials(keyed)
    done = keyed.command("keys", "rotate", "--revoke-all", "--yes")
    assert done.returncode == 0 and "every API key" in done.stderr, done.stderr
    assert [_call(keyed, old).status_code, keyed.api.get("/agents").status_code] == [401, 401]
    assert _token(keyed, *credentials).status_code == 400
    assert _token(keyed, account["client_id"], account["client_secret"]).status_code == 400
    assert len(_shown(keyed)) == 1, "the command line has the key that was renewed"

    keyed.connect()
    keyed.down()
    keyed.up()
    assert _token(keyed, *_programs_credentials(keyed)).status_code == 200
