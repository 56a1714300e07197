"""The same FastAPI program through Homeport's gateway, on Ray Serve, on BentoML, and by itself: throughput and median.

One replica or worker each, on one machine, as their users start them. Homeport checks a key on each request and runs
the program in a sandbox; the others do neither.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench.figures import Figure, Outcome, Refused, turned
from bench.installation import WORKSPACE, installation
from bench.load import Burst, burst, require_h2load
from homeport.testing.system import System, eventually, free_port

PROGRAMS = Path(__file__).parents[1] / "program" / "peers"
VENV = Path(__file__).parents[2] / ".peers"
HOMEPORT, RAY, BENTOML, ALONE = "Homeport", "Ray Serve", "BentoML", "by itself"
REQUESTS = 4000  # a round and target
CONNECTIONS = 16
SINGLE_REQUESTS = 500  # over one connection
BODY = b'{"text": "hello"}'
_START_S = 120.0
_END_S = 20.0


def run(rounds: int, scale: float) -> Outcome:
    require_h2load()
    versions = _versions()
    many: dict[str, list[Burst]] = {}
    single: dict[str, list[Burst]] = {}
    with installation() as system, ExitStack() as stack:
        urls = {HOMEPORT: _deploy(system, versions)}
        python = VENV / "bin" / "python"
        commands = {
            RAY: ([str(python), "on_ray.py"], "/echo"),
            BENTOML: ([str(VENV / "bin" / "bentoml"), "serve", "on_bentoml:Echo"], "/app/echo"),
            ALONE: ([str(python), "main.py"], "/echo"),
        }
        for name, (command, path) in commands.items():
            urls[name] = stack.enter_context(_served(command, path))
        for number in range(-1, rounds):
            for name in turned(urls, number):
                headers = {"Content-Type": "application/json"}
                if name == HOMEPORT:
                    headers["Authorization"] = f"Bearer {system.key}"
                many_now = _burst(urls[name], headers, REQUESTS, CONNECTIONS, scale)
                single_now = _burst(urls[name], headers, SINGLE_REQUESTS, 1, scale)
                if number >= 0:
                    many.setdefault(name, []).append(many_now)
                    single.setdefault(name, []).append(single_now)
    return _outcome(many, single, versions)


def _versions() -> dict[str, str]:
    """What is installed for the others. Raises `Refused` where it is not."""
    ask = "from importlib.metadata import version as v; print(v('ray'), v('bentoml'), v('fastapi'), v('uvicorn'))"
    try:
        done = subprocess.run([VENV / "bin" / "python", "-c", ask], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Refused(f"{VENV} is not there: `make peers` makes it where the packages can be had") from error
    if done.returncode:
        raise Refused(f"Ray Serve and BentoML are not installed in {VENV}: {done.stderr.strip()[-300:]}")
    return dict(zip(("ray", "bentoml", "fastapi", "uvicorn"), done.stdout.split(), strict=True))


def _deploy(system: System, versions: dict[str, str]) -> str:
    files = {name: (PROGRAMS / name).read_text() for name in ("main.py", "echo.py")}
    files["requirements.txt"] = f"fastapi=={versions['fastapi']}\nuvicorn[standard]=={versions['uvicorn']}\n"
    deployed = system.deploy("agents", "echo", files)
    if deployed["status"] != "DEPLOYED":
        raise Refused(f"the program is not deployed: {deployed['events']}")
    return f"{system.url}/{WORKSPACE}/agents/echo/echo"


@contextmanager
def _served(command: list[str], path: str) -> Iterator[str]:
    """Its URL, while the command serves it."""
    port = free_port()
    if command[0].endswith("bentoml"):
        command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    env = {**os.environ, **quiet, "PORT": str(port), "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=PROGRAMS, env=env, stdout=silent, stderr=silent, start_new_session=True)
    url = f"http://127.0.0.1:{port}{path}"

    def answers() -> bool:
        if process.poll() is not None:
            raise Refused(f"{' '.join(command)} ended with code {process.returncode}")
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(url, content=BODY, headers={"Content-Type": "application/json"}).status_code == 200
        return False

    try:
        eventually(answers, f"{url} answers", _START_S)
        yield url
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With what it started, which is in its session."""
    process.terminate()
    deadline = time.monotonic() + _END_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _burst(url: str, headers: dict[str, str], requests: int, connections: int, scale: float) -> Burst:
    count = max(50, int(requests * scale))
    cores = os.sched_getaffinity(0)
    return burst(url, headers, requests=count, connections=connections, cores=cores, body=BODY)


def _outcome(many: dict[str, list[Burst]], single: dict[str, list[Burst]], versions: dict[str, str]) -> Outcome:
    figures: list[Figure] = []
    for name in many:
        figures += [
            Figure(name=f"throughput, {name}", unit="1/s", rounds=[one.rps for one in many[name]]),
            Figure(name=f"median at one connection, {name}", unit="ms", rounds=[one.median_ms for one in single[name]]),
        ]
    for name in (RAY, BENTOML, ALONE):
        rates = [ours.rps / theirs.rps for ours, theirs in zip(many[HOMEPORT], many[name], strict=True)]
        times = [o.median_ms / t.median_ms for o, t in zip(single[HOMEPORT], single[name], strict=True)]
        figures += [
            Figure(name=f"throughput, Homeport beside {name}", unit="times", rounds=rates),
            Figure(name=f"median, Homeport beside {name}", unit="times", rounds=times),
        ]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Outcome(figures=figures, notes=[f"{told}; {CONNECTIONS} connections for the throughput"])
