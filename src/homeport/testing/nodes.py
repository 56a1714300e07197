"""Real nodes for tests: started, killed and started again, as root or as an ordinary user. Used by tests that need
processes; needs no server and no Envoy.
"""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import homeport
from homeport.core.errors import DriverUnavailable
from homeport.core.units import Mount
from homeport.drivers.process import ProcessDriver
from homeport.node import sandbox

ORDINARY_UID = 64_000 + os.getpid() % 1000  # nobody's; another one for each run of the tests
READY_S = 60.0


class NodeProcess:
    """One data directory and the node on it. uid: None for the user who runs the tests."""

    def __init__(self, folder: Path, uid: int | None = None, options: tuple[str, ...] = ()) -> None:
        self.folder, self.uid, self.options = folder, uid, options
        self.program: tuple[str, ...] = ("-m", "homeport.node")  # what Python runs; tests set traps in it
        self.data = folder / "data"
        self.socket = folder / "node.sock"
        self.driver = ProcessDriver(self.socket)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def interpreter(self) -> Mount:
        """Shows the test's Python to a unit, at its own place."""
        source = sys.base_prefix if self.uid is None else str(self.folder / "python")
        return Mount(source=source, target=sys.base_prefix)

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    async def start(self) -> None:
        """Start a node and wait until it answers."""
        with open(self.folder / "node.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env={
                    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                    "PYTHONPATH": _python_path(),
                    "SECRET": "of-node",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(READY_S):
            while not await self._answers():
                if self.process.poll() is not None:
                    raise RuntimeError(f"the node ended with {self.process.returncode}: {self.log}")
                await asyncio.sleep(0.02)

    def command(self, data: Path | None = None) -> list[str]:
        """What starts a node, on its own directory or on another."""
        wrapper = [] if self.uid is None else ["-m", "homeport.testing.ordinary_user", str(self.uid), self._place()]
        options = ["--data", str(data or self.data), "--socket", str(self.socket), *self.options]
        return [sys.executable, *wrapper, *self.program, *options]

    def kill(self) -> None:
        """SIGKILL the node; its units live on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask the node to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=READY_S)

    async def _answers(self) -> bool:
        try:
            await self.driver.info()
        except DriverUnavailable:
            return False
        return True

    def _place(self) -> str:
        place = self.folder / "python"
        place.mkdir(exist_ok=True)
        return str(place)


@asynccontextmanager
async def running_node(uid: int | None = None, options: tuple[str, ...] = ()) -> AsyncIterator[NodeProcess]:
    """A node on a fresh directory; both are gone afterwards, and so are its units."""
    folder = Path(tempfile.mkdtemp(prefix="homeport-node-"))
    folder.chmod(0o755)
    if uid is not None:
        os.chown(folder, uid, uid)
    node = NodeProcess(folder, uid, options)
    try:
        await node.start()
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.terminate()
        await node.driver.close()
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(node: NodeProcess) -> list[str]:
    """Files of units, and control groups, that are still there."""
    files = [str(path) for name in ("units", "trash") for path in (node.data / "node" / name).iterdir()]
    return files + [str(path) for base in control_groups(node) for path in base.iterdir() if path.is_dir()]


def control_groups(node: NodeProcess) -> list[Path]:
    """Those of the node, in every hierarchy. Others' come and go meanwhile, which `Path.rglob` would not bear."""
    name = node_name(node)
    return [Path(base, name) for base, inner, _ in os.walk("/sys/fs/cgroup") if name in inner]


def node_name(node: NodeProcess) -> str:
    return "homeport-" + hashlib.sha256(os.fsencode(node.data)).hexdigest()[:12]


def _python_path() -> str:
    """Where the node finds Homeport and bubblewrap, when it is not the virtual environment's interpreter."""
    bwrap = sandbox.find_bwrap()
    packages = [str(bwrap.parents[2])] if bwrap else []
    return os.pathsep.join([str(Path(homeport.__file__).parents[1]), *packages])
