"""A real private registry for tests: Debian's `docker-registry` on loopback, which engines take without TLS, with
one user. Says what is missing elsewhere.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from homeport.core.clock import SystemClock
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine
from homeport.testing.system import free_port

USER = "ada"
PASSWORD = "hush-registry-5f1c9a27d3"
_ENTRY = f"{USER}:$2b$04$abcdefghijklmnopqrstuu73QGqnv5klGqURgW0.ZMFb/DVUXJ5RG\n"  # bcrypt of PASSWORD
_CONFIGURATION = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "{host}"}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""
_PROGRAM = "docker-registry"
_READY_S = 20.0
_CALL_S = 60.0


def registry_obstacle() -> str | None:
    """Why no registry can be had here, or None."""
    if shutil.which(_PROGRAM) is None:
        return f"there is no {_PROGRAM} on this machine (Debian: apt-get install {_PROGRAM})"
    return None


def auth_of(password: str) -> str:
    """As Docker's configuration has it."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


class Registry:
    """One at `host`, which lets USER in."""

    def __init__(self, host: str) -> None:
        self.host = host

    def config(self, password: str = PASSWORD) -> str:
        """Docker's configuration with a login for it."""
        return json.dumps({"auths": {self.host: {"auth": auth_of(password)}}})

    def push(self, engine: EngineProcess, local: str, name: str) -> str:
        """Put the engine's image `local` there as `name:tag`, and take the new name off the engine. Returns the digest
        that the registry knows it by."""
        reference = f"{self.host}/{name}"
        repository, _, tag = reference.rpartition(":")
        said = {"username": USER, "password": PASSWORD, "serveraddress": self.host}
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}
        with _client(engine) as client:
            client.post(f"/images/{local}/tag", params={"repo": repository, "tag": tag}).raise_for_status()
            pushed = client.post(f"/images/{repository}/push", params={"tag": tag}, headers=headers)
            told = [json.loads(line) for line in pushed.text.splitlines() if line.strip()]
            assert pushed.is_success and not any("error" in step for step in told), told
        remove_image(engine, reference)
        return str(next(step["aux"]["Digest"] for step in told if "Digest" in step.get("aux", {})))


def remove_image(engine: EngineProcess, reference: str) -> None:
    """The name, and the content where it has no other; harmless where it is gone."""
    with _client(engine) as client:
        client.delete(f"/images/{reference}", params={"force": "1"})


@contextmanager
def engine_for_registries(local: str, tags: int) -> Iterator[EngineProcess]:
    """An engine that has the images `local:1` to `local:TAGS`, which print `this is N`. Skips the test, with the
    reason, where there is no engine or no registry to be had."""
    if cause := engine_obstacle() or registry_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        if is_podman(running):
            pytest.skip("Podman asks for TLS on loopback, too, unless its registries.conf says otherwise")
        running.make_image(f"{local}:1", config=(_prints(1),))
        for tag in range(2, tags + 1):
            running.vary_image(f"{local}:{tag}", f"{local}:1", config=(_prints(tag),))
        yield running


def _prints(tag: int) -> str:
    return f'CMD ["/bin/echo", "this is {tag}"]'


@contextmanager
def running_registry() -> Iterator[Registry]:
    """One on a port and a directory of its own."""
    host = f"127.0.0.1:{free_port()}"
    folder = Path(tempfile.mkdtemp(prefix="homeport-registry-", dir="/tmp"))
    (folder / "htpasswd").write_text(_ENTRY)
    (folder / "config.yml").write_text(_CONFIGURATION.format(folder=folder, host=host))
    with open(folder / "log", "wb") as log:
        command = (_PROGRAM, "serve", str(folder / "config.yml"))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = SystemClock().monotonic() + _READY_S
        while not _answers(host):
            if process.poll() is not None or SystemClock().monotonic() > deadline:
                raise RuntimeError(f"{_PROGRAM} does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        yield Registry(host)
    finally:
        process.terminate()
        process.wait(timeout=_CALL_S)
        shutil.rmtree(folder)


@contextmanager
def refusing_registry(status: int, message: str) -> Iterator[str]:
    """The host of a registry that refuses everything in these words."""
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": message}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _answers(host: str) -> bool:
    try:
        return httpx.get(f"http://{host}/v2/").status_code == httpx.codes.UNAUTHORIZED
    except httpx.TransportError:
        return False


def _client(engine: EngineProcess) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=engine.url.removeprefix("unix://"))
    return httpx.Client(transport=transport, base_url="http://engine", timeout=_CALL_S)


def is_podman(engine: EngineProcess) -> bool:
    with _client(engine) as client:
        return "podman" in client.get("/version").text.lower()


def inspected(engine: EngineProcess) -> str:
    """All that the engine says of its containers and images."""
    with _client(engine) as client:
        said = [client.get(path).text for path in ("/containers/json?all=1", "/images/json?all=1")]
        for kind, listed in zip(("containers", "images"), said[:2], strict=True):
            said += [client.get(f"/{kind}/{one['Id']}/json").text for one in json.loads(listed)]
    return "\n".join(said)
