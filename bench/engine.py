"""A container engine of its own for a scenario, with the benchmarks' program as an image, and a Homeport beside it."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.figures import Refused, turned
from bench.installation import installation
from bench.trivial import PROGRAM
from homeport.core.ids import UnitId, new_id
from homeport.core.units import UnitKind, UnitSpec
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.testing.engines import EngineProcess, engine_obstacle, python_files, running_engine
from homeport.testing.system import System

IMAGE = "docker.io/library/homeport-bench:1"
PORT = 8080
OWNER = Owner(installation="bench", region="docks")
_LOOK_S = 0.01  # between looks at whether a program answers: each takes processor time from what starts
_ANSWER_BOUND_S = 60.0
_SUBNET = "10.213.77.0/24"  # outside of what engines give by themselves


@contextmanager
def engine() -> Iterator[EngineProcess]:
    """Raises `Refused` where none can be had."""
    if cause := engine_obstacle():
        raise Refused(f"there is no container engine to measure: {cause}")
    with running_engine() as running:
        command = 'ENTRYPOINT ["/bin/python3"]', 'CMD ["/srv/main.py"]'
        running.make_image(IMAGE, [*python_files(), (PROGRAM, "/srv/main.py")], config=command)
        yield running


@contextmanager
def installation_with(running: EngineProcess) -> Iterator[System]:
    """A Homeport that runs programs on this machine and images on the engine."""
    region = f'[regions.docks]\ndriver = "docker"\nengine = "{running.url}"\ncountry = "NL"\n'
    with installation(config=region) as system:
        yield system


def deploy_image(system: System, kind: str, name: str, runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Create a workload of the benchmarks' image, and wait for the end of its deployment."""
    body = {"metadata": {"name": name}, "spec": {"runtime": {**runtime, "image": IMAGE}}}
    system.api.post(f"/{kind}", json=body).raise_for_status()
    return system.settled(kind, name)


def docker_driver(running: EngineProcess, folder: Path) -> DockerDriver:
    return DockerDriver(Engine(EngineAddress(url=running.url)), OWNER, folder)


def container_unit() -> UnitSpec:
    """The benchmarks' program in a container, as the driver starts it for a replica."""
    env = {"PORT": str(PORT), "HOST": "0.0.0.0"}
    unit = UnitId(new_id("unit"))
    return UnitSpec(id=unit, kind=UnitKind.REPLICA, argv=(), env=env, workdir="", image=IMAGE, network="bench")


def first_answer_s(url: str, began: float, headers: dict[str, str] | None = None) -> float:
    """Seconds from `began` (of the performance counter) until a request is answered 200."""
    with httpx.Client(headers=headers, timeout=5) as client:
        while time.perf_counter() - began < _ANSWER_BOUND_S:
            try:
                if client.get(url).status_code == 200:
                    return time.perf_counter() - began
            except httpx.TransportError:
                pass
            time.sleep(_LOOK_S)
    raise Refused(f"{url} did not answer within {_ANSWER_BOUND_S:g} s")


class ByHand:
    """What an engine's user does, with its own command line."""

    def __init__(self, running: EngineProcess) -> None:
        found = shutil.which("docker")
        if found is None:
            raise Refused("there is no docker command to compare with (Debian: apt-get install docker.io)")
        self._command = (found, "--host", running.url)
        self._network = "homeport-by-hand"
        self.run("network", "create", "--subnet", _SUBNET, self._network)
        self._address = _SUBNET.replace(".0/24", ".77")

    def run(self, *words: str) -> str:
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(f"docker {words[0]} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def first_byte_s(self, *more: str) -> float:
        """`docker run` in a network that is there, at an address that is known, without publishing: the least that it
        takes."""
        began = time.perf_counter()
        where = ("--network", self._network, "--ip", self._address)
        made = self.run("run", "-d", *where, "-e", f"PORT={PORT}", "-e", "HOST=0.0.0.0", *more, IMAGE)
        took = first_answer_s(f"http://{self._address}:{PORT}/", began)
        self.run("rm", "-f", made.strip())
        return took

    def run_to_its_end(self, *arguments: str) -> None:
        """`docker run` of the image's entry point with other arguments, until it has ended and is removed."""
        self.run("run", "--rm", "--network", self._network, IMAGE, *arguments)

    def close(self) -> None:
        self.run("network", "rm", self._network)


def in_turns(number: int, measures: Mapping[str, Callable[[], float]], into: dict[str, list[float]]) -> None:
    """One round of every measure. Rounds below 0 are not counted."""
    for name in turned(measures, number):
        value = measures[name]()
        if number >= 0:
            into.setdefault(name, []).append(value)
