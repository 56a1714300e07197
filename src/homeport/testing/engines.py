"""A real Docker engine for tests: started on directories of its own, killed and started again, and everything that it
changed on this machine put back. Needs root and Debian's `docker.io`; says what is missing elsewhere.

`HOMEPORT_TEST_ENGINE` names an engine that runs already (`unix:///…`), such as Podman's; tests that kill their engine
skip then.
"""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from homeport.core.clock import SystemClock
from homeport.testing.certificates import write_certificates
from homeport.testing.system import free_port

GIVEN = "HOMEPORT_TEST_ENGINE"
READY_S = 60.0
_NEEDED = 1 << 12 | 1 << 21  # CAP_NET_ADMIN and CAP_SYS_ADMIN
STOP_S = 60.0
# Of Python's standard library: large, and of no use to the programs of tests.
_NOT_NEEDED = re.compile(
    r"/(tests?|(site|dist)-packages|__pycache__|idlelib|tkinter|lib2to3|ensurepip|config-[^/]*)(/|$)|_tk"
)
TOOLS = ("sh", "sleep", "true", "false", "echo", "cat", "seq", "id", "ls", "dd", "head")


def engine_obstacle() -> str | None:
    """Why no engine can be had here, or None."""
    if os.environ.get(GIVEN):
        return None
    if os.geteuid() != 0:
        return "only root can start a Docker engine"
    for program in ("dockerd", "containerd", "iptables-save"):
        if shutil.which(program) is None:
            return f"there is no {program} on this machine (Debian: apt-get install docker.io)"
    status = Path("/proc/self/status").read_text()
    able = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    if able & _NEEDED != _NEEDED or subprocess.run(["iptables-save"], capture_output=True, check=False).returncode != 0:
        return "root may not set up networks and mounts on this machine"
    if Path("/sys/class/net/docker0").exists():
        return f"another Docker engine runs on this machine; {GIVEN}=unix:///… lets tests use it"
    return None


class EngineProcess:
    """One engine and what it keeps below `folder`: dockerd beside containerd, as Debian runs them."""

    def __init__(self, folder: Path, given: str | None = None) -> None:
        """given: one that runs already."""
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._images: list[str] = []
        self.url = given or os.environ.get(GIVEN) or f"unix://{folder}/engine.sock"
        self.tls_url = f"tcp://127.0.0.1:{free_port()}"

    @property
    def crun(self) -> str | None:
        """Where the runtime is that may be asked for by this name, besides the engine's own."""
        return shutil.which("crun") if not os.environ.get(GIVEN) else None

    @property
    def own(self) -> bool:
        """Whether tests may kill it."""
        return self._process is not None

    def start(self, *flags: str) -> None:
        """Start the engine, with more `flags` of dockerd's, and wait until it answers."""
        if os.environ.get(GIVEN):
            return
        folder = self.folder
        below = f"{folder}/containerd.sock"
        if self._containerd is None:
            paths = ("--root", f"{folder}/containerd", "--state", f"{folder}/state", "--address", below)
            self._containerd = self._run("containerd", *paths)
        paths = ("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid")
        crun = ("--add-runtime", f"crun={self.crun}") if self.crun else ()
        self._process = self._run("dockerd", *paths, *crun, "--containerd", below, "-H", self.url, *self._tls(), *flags)
        deadline = SystemClock().monotonic() + READY_S
        while not self.answers():
            if self._process.poll() is not None or SystemClock().monotonic() > deadline:
                raise RuntimeError(f"dockerd does not start: {(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL the engine; its containers live on until the next one has looked at them."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        (self.folder / "pid").unlink(missing_ok=True)

    def stop_engine(self) -> None:
        """Stop the engine with its containers, as an operator does to start it anew."""
        _end(self._process)

    def stop(self) -> None:
        """Stop everything."""
        for process in (self._process, self._containerd):
            _end(process)

    def _tls(self) -> list[str]:
        """The engine's second address, which asks for a client certificate."""
        if not (self.folder / "ca.pem").exists():
            write_certificates(self.folder)
        files = {"tlscacert": "ca", "tlscert": "server-cert", "tlskey": "server-key"}
        return [
            "-H",
            self.tls_url,
            "--tlsverify",
            *(f"--{flag}={self.folder}/{name}.pem" for flag, name in files.items()),
        ]

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def make_image(self, reference: str, files: Iterable[tuple[Path, str]] = (), *, config: Iterable[str] = ()) -> None:
        """An image of the host's shell and a few tools with their libraries, and of `files` (source, path in the
        image), which may be directories. `config`: lines of a Dockerfile, such as `USER 1000`."""
        params = {"fromSrc": "-", "repo": reference, "changes": [*config]}
        with self._client() as client:
            answer = client.post("/images/create", params=params, content=_root_tree(files), timeout=READY_S)
        assert answer.is_success, answer.text
        self._images.append(reference)

    def vary_image(self, reference: str, of: str, *, config: Iterable[str]) -> None:
        """An image like `of`, but for these lines of a Dockerfile."""
        repository, _, tag = reference.rpartition(":")
        with self._client() as client:
            made = client.post("/containers/create", json={"Image": of}, timeout=READY_S).json()["Id"]
            params = {"container": made, "repo": repository, "tag": tag, "changes": "\n".join(config)}
            answer = client.post("/commit", params=params, timeout=READY_S)
            client.delete(f"/containers/{made}", timeout=READY_S)
        assert answer.is_success, answer.text
        self._images.append(reference)

    def ask(self, path: str, **params: str) -> Any:
        """What the engine answers to a GET."""
        with self._client() as client:
            answer = client.get(path, params=params, timeout=READY_S)
        answer.raise_for_status()
        return answer.json()

    def build(self, dockerfile: str) -> None:
        """What somebody else builds, who gives it no name. It stays until the engine is gone."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            _put(tar, "Dockerfile", dockerfile.encode())
        with self._client() as client:
            params = {"version": "1", "rm": "1"}
            client.post("/build", params=params, content=buffer.getvalue(), timeout=READY_S).raise_for_status()

    def load_image(self, reference: str, *, architecture: str, config: dict[str, Any]) -> None:
        """An image without a file in it that says it is for `architecture`."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w"):
            pass
        digest = hashlib.sha256(layer.getvalue()).hexdigest()
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
        image = {"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs, "history": [{}]}
        manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w") as tar:
            for name, said in (("config.json", image), ("manifest.json", manifest)):
                _put(tar, name, json.dumps(said).encode())
            _put(tar, "layer.tar", layer.getvalue())
        with self._client() as client:
            answer = client.post("/images/load", content=whole.getvalue(), timeout=READY_S)
        assert answer.is_success and "error" not in answer.text, answer.text
        self._images.append(reference)

    def remove_images(self) -> None:
        """What tests made, since the engine may be somebody's."""
        with self._client() as client:
            for reference in reversed(self._images):
                client.delete(f"/images/{reference}", timeout=READY_S)

    def image_names(self, part: str) -> list[str]:
        """The names, by tag and by content, of the engine's images that have `part` in them."""
        with self._client() as client:
            found = client.get("/images/json").json()
        names = [name for one in found for name in (*(one["RepoTags"] or ()), *(one["RepoDigests"] or ()))]
        return sorted(name for name in names if part in name)

    def run_container(self, image: str, labels: dict[str, str], name: str = "homeport-stray", **more: Any) -> None:
        """Start one behind everybody's back."""
        with self._client() as client:
            body = {"Image": image, "Labels": labels, **more}
            made = client.post("/containers/create", params={"name": name}, json=body, timeout=READY_S)
            client.post(f"/containers/{made.json()['Id']}/start", timeout=READY_S).raise_for_status()

    def remove_container(self, name: str) -> None:
        """As somebody else does it, who leaves its volumes behind."""
        with self._client() as client:
            client.delete(f"/containers/{name}", params={"force": "1"}, timeout=READY_S).raise_for_status()

    def volumes(self, labels: Iterable[str]) -> list[str]:
        """Names of the volumes with these labels."""
        with self._client() as client:
            found = client.get("/volumes", params={"filters": json.dumps({"label": [*labels]})}).json()
        return [one["Name"] for one in found["Volumes"] or ()]

    def forget_installation(self, installation: str) -> None:
        """Every container, network, image and layer of it."""
        with self._client() as client:
            mine = {"filters": json.dumps({"label": [f"homeport.installation={installation}"]})}
            for found in client.get("/containers/json", params={"all": "1", **mine}).json():
                client.delete(f"/containers/{found['Id']}", params={"force": "1", "v": "1"}, timeout=READY_S)
            for found in client.get("/networks", params=mine).json():
                client.delete(f"/networks/{found['Id']}", timeout=READY_S)
            built = {"all": "1", "filters": json.dumps({"label": [f"homeport.builder={installation}"]})}
            gone = True
            while gone:  # from the top of each chain
                found = client.get("/images/json", params=built).json()
                answers = [client.delete(f"/images/{one['Id']}", params={"noprune": "1"}) for one in found]
                gone = any(answer.is_success for answer in answers)

    def remove_all(self) -> None:
        """Every container and every network of ours."""
        with self._client() as client:
            for name in self.names():
                client.delete(f"/containers/{name}", params={"force": "1", "v": "1"}, timeout=READY_S)
            for found in client.get("/networks").json():
                if found["Name"].startswith("homeport-"):
                    client.delete(f"/networks/{found['Id']}", timeout=READY_S)

    def names(self, what: str = "containers/json?all=1") -> list[str]:
        """Names of the containers, or of the networks (`networks`), that the engine has and that are ours."""
        with self._client() as client:
            found = client.get(f"/{what}").json()
        names = [one["Name"] if "Name" in one else one["Names"][0].removeprefix("/") for one in found]
        return sorted(name for name in names if name.startswith("homeport-"))

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=self.url.removeprefix("unix://"))
        return httpx.Client(transport=transport, base_url="http://engine")

    def answers(self) -> bool:
        try:
            with closing(socket.socket(socket.AF_UNIX)) as probe:  # httpx leaves one open where nobody listens
                probe.connect(self.url.removeprefix("unix://"))
            with self._client() as client:
                return client.get("/_ping").is_success
        except (OSError, httpx.HTTPError):
            return False


@contextmanager
def running_engine() -> Iterator[EngineProcess]:
    """An engine of its own on fresh directories. Afterwards its containers, its networks and its rules for packets are
    gone, and those that were there before are back."""
    folder = Path(tempfile.mkdtemp(prefix="homeport-engine-", dir="/tmp"))
    engine = EngineProcess(folder)
    given = os.environ.get(GIVEN) is not None
    rules = b"" if given else subprocess.run(["iptables-save"], capture_output=True, check=True).stdout
    links = _bridges()
    try:
        engine.start()
        yield engine
        engine.remove_all()
        engine.remove_images()
    finally:
        engine.stop()
        if not given:
            subprocess.run(["iptables-restore"], input=rules, check=True)
            for link in _bridges() - links:
                subprocess.run(["ip", "link", "delete", link], check=True)
            _unmount_below(folder)  # an engine that was killed left its mounts
        shutil.rmtree(folder)


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_S)


def _unmount_below(folder: Path) -> None:
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in places if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", place], check=True)


def _bridges() -> set[str]:
    return {path.parent.name for path in Path("/sys/class/net").glob("*/bridge")}


def python_files() -> list[tuple[Path, str]]:
    """The interpreter that runs the tests, as files of an image. Its modules are those of its standard library that a
    small program may need."""
    interpreter, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    return [(interpreter, str(interpreter)), (interpreter, "/bin/python3"), (library, str(library))]


def _root_tree(files: Iterable[tuple[Path, str]]) -> bytes:
    """A tar of a root directory."""
    tools = [(Path(found), f"/bin/{name}") for name in TOOLS if (found := shutil.which(name))]
    wanted = {target: source for source, target in [*tools, *files]}
    for source in [*wanted.values()]:
        for program in (source, *source.glob("**/*.so")):
            wanted |= {library: Path(library) for library in _libraries(program)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for target, source in sorted(wanted.items()):
            tar.add(source.resolve(), target.removeprefix("/"), filter=_needed)
    return buffer.getvalue()


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _NOT_NEEDED.search(entry.name) else entry


def _libraries(program: Path) -> list[str]:
    """What the dynamic linker loads for it."""
    if not program.is_file() or _NOT_NEEDED.search(str(program)):
        return []
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [word for word in said.split() if word.startswith("/")]
