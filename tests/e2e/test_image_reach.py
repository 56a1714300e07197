"""Who reaches whom where images run: containers the gateway, Envoy the containers, and nobody else anybody."""

import os
import select
import signal
import socket
import socketserver
import subprocess
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from homeport.app.activation import WAIT_S
from homeport.core.ids import UnitId
from homeport.core.machine import this_machine
from homeport.core.units import endpoint_of
from homeport.drivers.docker.address import EngineAddress, TlsFiles
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.networks import Bridge
from homeport.drivers.docker.outside import Remote
from homeport.supervise.state import read_state
from homeport.testing.driver_suite import end_of, unit_spec
from homeport.testing.driver_suite import eventually as came_about
from homeport.testing.engines import EngineProcess, engine_obstacle, python_files, running_engine
from homeport.testing.system import BOUND_S, System, eventually

FAR = "198.51.100.7"  # of the range for documentation: nobody has it
TLS = {"ca": "ca.pem", "cert": "client-cert.pem", "key": "client-key.pem"}
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
def far() -> Iterator[None]:
    """The address FAR on this machine."""
    subprocess.run(["ip", "address", "add", f"{FAR}/32", "dev", "lo"], check=True)
    yield
    subprocess.run(["ip", "address", "delete", f"{FAR}/32", "dev", "lo"], check=True)


class _PassOn(socketserver.BaseRequestHandler):
    """As a balancer of the operator's: passes a connection on to the gateway."""

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.gateway_port)) as gateway:  # type: ignore[attr-defined]
            ends = {self.request: gateway, gateway: self.request}
            while True:
                for end in select.select([*ends], [], [], BOUND_S)[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)


@contextmanager
def passing_on(address: str, port: int) -> Iterator[int]:
    """A port of `address` at which the gateway's is reached."""
    with socketserver.ThreadingTCPServer((address, 0), _PassOn) as server:
        server.daemon_threads = True
        server.gateway_port = port  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def harbour(engine: EngineProcess, far: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation with a program, `walker`, to call, and an engine in three regions: under its socket (`docks`),
    and over TLS as if it were another machine's with the address FAR, with a way back (`far`) and without (`away`)."""
    running = System(tmp_path_factory.mktemp("harbour") / "data")
    running.data.root.mkdir()
    with passing_on(FAR, running.port) as way_back:
        tls = "".join(f'engine_{name} = "{engine.folder / file}"\n' for name, file in TLS.items())
        far = f'driver = "docker"\nengine = "{engine.tls_url}"\nprograms_at = "{FAR}"\n{tls}'
        running.data.config.write_text(
            f'[regions.docks]\ndriver = "docker"\nengine = "{engine.url}"\n'
            f'[regions.far]\n{far}gateway_url = "http://{FAR}:{way_back}"\n[regions.away]\n{far}'
        )
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


def processes_of(name: str) -> list[int]:
    """The processes of an agent's container, as this machine sees them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if f"BL_NAME={name}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def notes(system: System) -> str:
    """What `homeport status` tells the operator."""
    return "\n".join(system.api.get("/homeport/status").json()["notes"])


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


def test_without_its_engine_an_agent_answers_and_once_it_ended_requests_fail_soon_with_the_reason(
    harbour: System, engine: EngineProcess
) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to kill")
    engine.kill()
    eventually(lambda: "docker.docks does not answer" in notes(harbour), "the engine is missed")
    assert called(harbour, "sailor", key=harbour.key) == 200
    for process in processes_of("sailor"):
        os.kill(process, signal.SIGKILL)
    eventually(lambda: not processes_of("sailor"), "it has ended")

    def answers() -> httpx.Response | None:
        answer = harbour.gateway.get("/agents/sailor", timeout=WAIT_S / 2)
        return answer if answer.status_code != 502 else None  # over a connection that it left behind

    answer = eventually(answers, "requests go to the activator")
    assert answer.status_code == 503 and answer.headers["Retry-After"], answer.text
    assert "the engine of region 'docks' does not answer" in answer.json()["error"]["message"]
    engine.start()
    eventually(lambda: _answers(harbour), "the agent is back")
    assert called(harbour, "sailor", key=harbour.key) == 200


def test_an_agent_on_another_machine_is_reached_at_a_published_port_and_reaches_the_gateway(
    harbour: System, engine: EngineProcess
) -> None:
    before = listeners()
    made = deploy_image(harbour, "voyager", region="far")
    assert made["status"] == "DEPLOYED", made["events"]
    published = {address for address, port in listeners() - before if port != harbour.port}
    assert published == {FAR}
    for path in ("/default/agents/walker/", "/healthz"):
        assert called(harbour, "voyager", path=path, key=harbour.key) == 200
    assert harbour.gateway.get("/agents/voyager").json()["url"].startswith(f"http://{FAR}:")
    eventually(lambda: "docker.far: programs do not reach" not in notes(harbour), "the way back is known")
    assert f"ports published at {FAR}" in notes(harbour)
    assert "docker.away: programs do not reach the gateway: no gateway_url" in notes(harbour)
    harbour.remove("agents", "voyager")


def test_where_programs_cannot_reach_the_gateway_the_deployment_says_so(harbour: System) -> None:
    made = deploy_image(harbour, "castaway", region="away")
    assert made["status"] == "DEPLOYED", made["events"]
    assert any("[regions.away] a gateway_url" in event["message"] for event in made["events"])  # type: ignore[attr-defined]
    said = harbour.gateway.get("/agents/castaway").json()
    assert not isinstance(said["said"], int), said
    harbour.remove("agents", "castaway")


def test_regions_that_are_one_machine_are_told_wherever_places_are_shown(harbour: System) -> None:
    found = {one["region"]: one["sameMachineAs"] for one in harbour.api.get("/locations").json()}
    assert found["far"] == ["local", "docks", "away"] and found["local"] == ["docks", "far", "away"]
    told = "local, docks, far and away are the same machine"
    assert told in notes(harbour)
    assert told in harbour.command("explain", "agent", "walker").stdout


@asynccontextmanager
async def opened(address: EngineAddress, folder: Path, **more: Any) -> AsyncIterator[DockerDriver]:
    """A driver without a server around it."""
    driver = DockerDriver(Engine(address), Owner(installation="reach", region="near"), folder, **more)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def forgotten(driver: DockerDriver, unit: UnitId) -> None:
    await end_of(driver, unit)
    await driver.forget(unit)


class Opened:
    """Doors that only remember."""

    def __init__(self) -> None:
        self.calls: list[list[Bridge]] = []

    async def open(self, bridges: Collection[Bridge]) -> None:
        self.calls.append([*bridges])

    def trouble(self) -> str | None:
        return None


async def test_where_the_gateway_listens_is_known_while_the_engine_is_away_and_forgotten_with_the_network(
    engine: EngineProcess, tmp_path: Path
) -> None:
    address, folder, doors = EngineAddress(url=engine.url), tmp_path / "driver", Opened()
    async with opened(address, folder, doors=doors) as driver:
        unit = await driver.start(unit_spec(("/bin/true",), image=IMAGE, network="acme", workdir=""))
        (bridge,) = doors.calls[-1]
        assert bridge.subnet.endswith("/16") and bridge.address.startswith(bridge.subnet.split(".0.0/")[0])
        await forgotten(driver, unit.id)
    later = Opened()
    async with opened(EngineAddress(url=f"unix://{tmp_path}/none"), folder, doors=later):
        assert later.calls == [[bridge]]
    last = Opened()
    async with opened(address, folder, doors=last):
        assert last.calls == [[bridge], []]


async def test_a_proxy_of_the_engines_is_not_taken_for_a_program(engine: EngineProcess, tmp_path: Path) -> None:
    """On loopback Docker's own proxy takes every connection to a published port, whether somebody listens or not."""
    tls = TlsFiles(**{name: engine.folder / file for name, file in TLS.items()})
    address = EngineAddress(url=engine.tls_url, tls=tls)
    async with opened(address, tmp_path / "driver", remote=Remote(programs_at="127.0.0.1")) as driver:
        assert (await driver.info())["machine"] == this_machine()
        env = {"HOST": "0.0.0.0", "PORT": "8000", "BL_RUN_URL": ""}
        for unit, argv, expected in (("silent", ("/bin/sleep", "60"), set()), ("serves", (), {8000})):
            status = await driver.start(
                unit_spec(argv, id=UnitId(unit), image=IMAGE, network="acme", port=8000, env=env, workdir="")
            )
            assert status.address is not None
            with socket.create_connection(endpoint_of(status.address, 8000)):  # taken, whoever is behind it
                pass

            async def seen(unit: UnitId = status.id, ports: set[int] = expected) -> bool:
                return await driver.listening(unit) == ports

            await came_about(seen)
            await driver.stop(status.id, 0)
            await forgotten(driver, status.id)


def _answers(system: System) -> bool:
    try:
        return system.gateway.get("/agents/sailor").status_code == 200
    except httpx.TransportError:
        return False
