"""Who reaches whom where images run: containers the gateway, Envoy the containers, and nobody else anybody."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from homeport.supervise.state import read_state
from homeport.testing.engines import EngineProcess, engine_obstacle, python_files, running_engine
from homeport.testing.system import System, eventually

IMAGE = "docker.io/library/homeport-reach:1"
# Answers with what came of a request that it made to the gateway itself.
CALLER = """
import http.server, json, os, urllib.error, urllib.parse, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        try:
            headers = {"X-Blaxel-Authorization": "Bearer " + asked["key"]} if "key" in asked else {}
            request = urllib.request.Request(os.environ["BL_RUN_URL"] + asked.get("path", "/healthz"), headers=headers)
            said = urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            said = error.code
        except OSError as error:
            said = str(error)
        body = json.dumps({"said": said, "url": os.environ["BL_RUN_URL"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *words):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
PROGRAM = """
import os, http.server as web
web.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), web.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    caller = tmp_path_factory.mktemp("programs") / "caller.py"
    caller.write_text(CALLER)
    with running_engine() as running:
        config = ('ENTRYPOINT ["/bin/python3", "/srv/caller.py"]', "USER 1000")
        running.make_image(IMAGE, [*python_files(), (caller, "/srv/caller.py")], config=config)
        yield running


@pytest.fixture(scope="module")
def harbour(engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation with a program, `walker`, to call and an engine of this machine."""
    running = System(tmp_path_factory.mktemp("harbour") / "data")
    running.data.root.mkdir()
    running.data.config.write_text(f'[regions.docks]\ndriver = "docker"\nengine = "{engine.url}"\n')
    running.up()
    try:
        assert running.deploy("agents", "walker", {"main.py": PROGRAM})["status"] == "DEPLOYED"
        yield running
    finally:
        running.down()
    assert engine.names("containers/json") == []


def deploy_image(system: System, name: str, **spec: object) -> dict[str, object]:
    body = {"metadata": {"name": name}, "spec": {"runtime": {"image": IMAGE, "memory": 256}, **spec}}
    answer = system.api.post("/agents", json=body)
    assert answer.status_code == 200, answer.text
    return system.settled("agents", name)


def called(system: System, name: str, **asked: str) -> object:
    """The status of the answer that an agent got from the gateway, by default that of the program's."""
    answer = system.gateway.get(f"/agents/{name}", params={"path": "/default/agents/walker/", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["said"]


def listeners() -> set[tuple[str, int]]:
    """Where something listens on this machine over IPv4, loopback apart: address and port."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, _, port = fields[1].partition(":")
        if fields[3] == "0A":
            found.add((".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16)))
    return {(address, port) for address, port in found if not address.startswith("127.")}


@contextmanager
def halted(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def test_a_container_reaches_the_gateway_whatever_becomes_of_the_server(harbour: System) -> None:
    before = listeners()
    made = deploy_image(harbour, "sailor")
    assert made["status"] == "DEPLOYED", made["events"]
    ((address, port),) = listeners() - before  # nothing is published on the host
    assert port == harbour.port and address.startswith("172.")
    assert called(harbour, "sailor", key=harbour.key) == 200 and called(harbour, "sailor") == 401
    assert called(harbour, "sailor", key=harbour.key, path="/other/agents/walker/") == 403
    server = read_state(harbour.data).components["server"].pid
    with halted(server):
        assert called(harbour, "sailor", key=harbour.key) == 200
    os.kill(server, signal.SIGKILL)
    assert called(harbour, "sailor", key=harbour.key) == 200
    eventually(lambda: harbour.api.get("/agents/sailor").status_code == 200, "the server is back")
    assert called(harbour, "sailor", key=harbour.key) == 200


def test_a_container_reaches_the_next_envoy_and_the_gateway_after_a_stop(harbour: System) -> None:
    os.kill(read_state(harbour.data).components["envoy"].pid, signal.SIGKILL)
    eventually(lambda: _answers(harbour), "Envoy is back")
    assert called(harbour, "sailor", key=harbour.key) == 200
    harbour.down()
    assert not {address for address, port in listeners() if port == harbour.port}
    harbour.up()
    eventually(lambda: _answers(harbour), "the agent is back")
    assert called(harbour, "sailor", key=harbour.key) == 200


def _answers(system: System) -> bool:
    try:
        return system.gateway.get("/agents/sailor").status_code == 200
    except httpx.TransportError:
        return False
