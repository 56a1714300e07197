"""Builds on a real node: real sandboxes, the real registry, and programs that run from what was built."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import uv

from homeport.build import builder as builder_module
from homeport.build.builder import Builder, BuildRequest, unit_of
from homeport.build.bundle import Bundle, Description
from homeport.build.errors import BuildFailed
from homeport.core.clock import SystemClock
from homeport.core.errors import Invalid
from homeport.core.ids import Kind, RevisionId, UnitId
from homeport.core.units import UnitKind, UnitSpec, UnitState
from homeport.drivers.process import ProcessDriver
from homeport.settings import DataDir

EXAMPLES = Path(__file__).parents[2] / "examples"
PATH = "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin"
WAIT_S = 120.0  # the first installation on a machine downloads its packages

pytestmark = pytest.mark.sandbox


class System:
    """A data directory with a node that can be killed, and a builder that can be made anew."""

    def __init__(self, root: Path) -> None:
        self.data = DataDir(root)
        self.data.create()
        self.driver = ProcessDriver(self.data.socket("node"))
        self.builder = Builder(self.data, self.driver, SystemClock())
        self._node: subprocess.Popen[bytes] | None = None

    async def start_node(self) -> None:
        command = [sys.executable, "-m", "homeport.node", "--data", str(self.data.root)]
        log = (self.data.logs / "node.log").open("ab")
        with log:
            self._node = subprocess.Popen(
                [*command, "--socket", str(self.data.socket("node"))], stdout=log, stderr=log, start_new_session=True
            )
        await until(self._answers)

    async def _answers(self) -> bool:
        assert self._node is not None
        if self._node.poll() == 3:
            pytest.skip((self.data.logs / "node.log").read_text()[-1000:])
        assert self._node.poll() is None, (self.data.logs / "node.log").read_text()
        try:
            await self.driver.units()
        except Exception:
            return False
        return True

    def kill_node(self) -> None:
        assert self._node is not None
        self._node.kill()
        self._node.wait()

    async def stop(self) -> None:
        await self.driver.close()
        if self._node and self._node.poll() is None:
            self._node.send_signal(signal.SIGTERM)
            self._node.wait(30)

    def request(self, source: Path, revision: str, kind: Kind = Kind.AGENT) -> BuildRequest:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        return BuildRequest(
            revision=RevisionId(revision),
            resource_uid="uid-1",
            workspace="acme",
            kind=kind,
            name="sample",
            source=source,
            source_digest=digest,
        )

    def zip(self, files: dict[str, str]) -> Path:
        path = self.data.sources / f"{len([*self.data.sources.iterdir()])}.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return path

    def zip_folder(self, folder: Path) -> Path:
        files = {
            str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
        }
        return self.zip(files)

    async def log(self, unit: UnitId) -> list[str]:
        return [line.text for line in await self.driver.log(unit, 0, 10_000)]

    async def run(self, bundle: Bundle, name: str, argv: tuple[str, ...] = (), **env: str) -> UnitId:
        spec = UnitSpec(
            id=UnitId(name),
            kind=UnitKind.REPLICA,
            argv=argv or bundle.entrypoint,
            env={"PATH": PATH, **bundle.env, **env},
            bundle=str(bundle.app),
            mounts=bundle.mounts,
        )
        await self.driver.start(spec)
        return spec.id

    async def ended(self, unit: UnitId) -> int | None:
        async def over() -> bool:
            status = await self.driver.status(unit)
            return status is not None and status.state is UnitState.EXITED

        await until(over)
        status = await self.driver.status(unit)
        assert status and status.outcome
        return status.outcome.exit_code


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await reached():  # noqa: ASYNC110 the state is another process's
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hp-build-") as made:
        yield Path(made)


@pytest.fixture
async def system(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[System]:
    """One data directory, and so one package cache, for all tests of the file."""
    made = System(folder / "data")
    await made.start_node()
    yield made
    await made.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_the_example_agent_is_built_served_and_leaves_its_bundle_unchanged(system: System) -> None:
    bundle = await system.builder.build(system.request(system.zip_folder(EXAMPLES / "hello-agent"), "rev-hello"))
    log = await system.log(unit_of(RevisionId("rev-hello")))
    assert "==> Installing dependencies from requirements.txt (3 packages)" in log
    assert any(line.startswith("==> Unpacked 3 files") for line in log)
    assert log[-1].startswith("==> Done in ")
    assert bundle.env == {"GREETING": "Hello"}
    assert not (system.data.builds / "rev-hello").exists()

    port = free_port()
    unit = await system.run(bundle, "replica-1", HOST="127.0.0.1", PORT=str(port))

    async def listens() -> bool:
        status = await system.driver.status(unit)
        assert status and status.state is not UnitState.EXITED, await system.log(unit)
        return port in await system.driver.listening(unit)

    await until(listens)
    ask = urllib.request.Request(f"http://127.0.0.1:{port}/", b'{"inputs": "hi"}', {"Content-Type": "application/json"})
    answer = await asyncio.to_thread(lambda: urllib.request.urlopen(ask, timeout=30).read())
    assert b'"inputs":"hi"' in answer
    await system.driver.stop(unit, 5)
    await system.ended(unit)
    assert any("Application shutdown complete" in line for line in await system.log(unit))  # no shell kept the signal


async def test_the_same_source_is_not_built_twice(system: System) -> None:
    source = system.zip({"main.py": "print('once')"})
    first = await system.builder.build(system.request(source, "rev-once"))
    second = await system.builder.build(system.request(source, "rev-twice"))
    assert first == second
    assert await system.driver.status(unit_of(RevisionId("rev-twice"))) is None
    other = replace(system.request(source, "rev-other"), workspace="other")
    assert system.builder.digest(other) != first.digest


async def test_uvicorn_is_added_for_an_application_that_does_not_ask_for_it(system: System) -> None:
    app = "async def app(scope, receive, send):\n    pass\n"
    bundle = await system.builder.build(system.request(system.zip({"app.py": app}), "rev-asgi"))
    log = await system.log(unit_of(RevisionId("rev-asgi")))
    assert "==> Adding uvicorn, which serves app:app and is not among the dependencies" in log
    assert (bundle.app / ".venv/bin/uvicorn").exists()


async def test_a_project_is_installed_with_its_scripts(system: System) -> None:
    files = {
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["idna"]\n'
        '[project.scripts]\nshop = "shop:main"\n[build-system]\nrequires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n',
        "src/shop/__init__.py": "import idna\ndef main():\n    print('open', idna.encode('a').decode())\n",
        "blaxel.toml": '[entrypoint]\nprod = "shop"\n',
    }
    bundle = await system.builder.build(system.request(system.zip(files), "rev-shop", Kind.JOB))
    unit = await system.run(bundle, "task-shop")
    assert await system.ended(unit) == 0
    assert await system.log(unit) == ["open a"]


async def test_a_lock_file_is_installed_as_it_is(system: System) -> None:
    files = {
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["idna==3.9"]\n[dependency-groups]\ndev = ["iniconfig"]\n',
        ".python-version": "3.99\n",
        "main.py": "import importlib.metadata as found\nprint(found.version('idna'))\n",
    }
    with tempfile.TemporaryDirectory() as made:
        (Path(made) / "pyproject.toml").write_text(files["pyproject.toml"])
        command = [uv.find_uv_bin(), "lock", "--quiet", "--python", sys.executable]
        await asyncio.to_thread(subprocess.run, command, cwd=made, check=True)
        files["uv.lock"] = (Path(made) / "uv.lock").read_text()
    bundle = await system.builder.build(system.request(system.zip(files), "rev-lock", Kind.JOB))
    unit = await system.run(bundle, "task-lock")
    assert await system.ended(unit) == 0
    assert await system.log(unit) == ["3.9"]
    assert not [*bundle.app.glob(".venv/lib/*/site-packages/iniconfig")]


async def test_the_example_job_counts_and_fails_once_when_told_to(system: System) -> None:
    bundle = await system.builder.build(
        system.request(system.zip_folder(EXAMPLES / "word-count-job"), "rev-words", Kind.JOB)
    )
    assert bundle.manifest.runtime == {"maxConcurrentTasks": 8, "maxRetries": 2, "timeout": 60, "memory": 512}
    tasks = json.loads((EXAMPLES / "word-count-job/tasks.json").read_text())["tasks"]
    assert len(tasks) == 20
    failing = next(task for task in tasks if task.get("fail_once"))

    async def attempt(number: int) -> tuple[int | None, str]:
        with serving({"tasks": [failing]}) as url:
            facts = {"BL_EXECUTION_DATA_URL": url, "BL_TASK_KEY": "DATA_INDEX", "DATA_INDEX": "0"}
            place = {"TASK_INDEX": "6", "TASK_COUNT": "20", "TASK_ATTEMPT": str(number - 1)}
            unit = await system.run(bundle, f"task-words-{number}", HOME="/tmp", **facts, **place)
            return await system.ended(unit), "\n".join(await system.log(unit))

    code, log = await attempt(1)
    assert code == 1 and "task 7 of 20, attempt 1" in log
    code, log = await attempt(2)
    assert code == 0 and "words; most frequent" in log


@contextmanager
def serving(body: dict[str, Any]) -> Iterator[str]:
    """The address of a server that answers every GET with `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_a_package_that_does_not_exist_fails_with_what_uv_says(system: System) -> None:
    files = {"main.py": "", "requirements.txt": "homeport-no-such-package==9.9\n"}
    with pytest.raises(BuildFailed) as caught:
        await system.builder.build(system.request(system.zip(files), "rev-missing"))
    error = caught.value
    assert error.message.startswith("Installing dependencies failed (exit code 1): ")
    assert "homeport-no-such-package" in error.message
    assert (error.step, error.exit_code) == ("Installing dependencies", 1)
    assert "pip install" in error.command
    assert not (system.data.builds / "rev-missing").exists()


async def test_a_start_command_that_nothing_installed_fails_the_build(system: System) -> None:
    files = {"blaxel.toml": '[entrypoint]\nprod = "gunicorn main:app"\n', "main.py": ""}
    with pytest.raises(BuildFailed, match="gunicorn is not there"):
        await system.builder.build(system.request(system.zip(files), "rev-command"))


async def test_an_archive_that_leads_outside_is_refused_and_leaves_nothing(system: System) -> None:
    with pytest.raises(Invalid, match=r"'\.\.'"):
        await system.builder.build(system.request(system.zip({"../evil": "x"}), "rev-evil"))
    assert not (system.data.builds / "rev-evil").exists()


async def test_build_arguments_reach_the_build_and_never_the_bundle(system: System) -> None:
    setup = "import os, pathlib\npathlib.Path('seen').write_text(os.environ['TOKEN'] + os.environ['PLAIN'])\n"
    files = {
        "main.py": "",
        "setup.py": setup + SETUP,
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
        "blaxel.toml": '[build.args]\nPLAIN = "plain"\nTOKEN = "weak"\nPATH = "/nowhere"\n',
        ".env.build": "TOKEN=secret\n",
        ".docker/config.json": "{}",
    }
    bundle = await system.builder.build(system.request(system.zip(files), "rev-args"))
    assert (bundle.app / "seen").read_text() == "secretplain"
    assert not (bundle.app / ".env.build").exists()
    assert not (bundle.app / ".docker").exists()


async def test_a_bundle_is_readable_by_all_and_a_program_changes_only_its_own_copy(system: System) -> None:
    files = {
        "main.py": "import pathlib\npathlib.Path('data/new').write_text('x')\n"
        "pathlib.Path('data/old').write_text('changed')\nprint(pathlib.Path('data/old').read_text())\n",
        "data/old": "old",
    }
    bundle = await system.builder.build(system.request(system.zip(files), "rev-own", Kind.JOB))
    for path in [bundle.app, *bundle.app.rglob("*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert mode & 0o444 == 0o444 and not mode & 0o6022, (path, oct(mode))
    unit = await system.run(bundle, "task-own")
    code = await system.ended(unit)
    assert (code, await system.log(unit)) == (0, ["changed"])
    assert (bundle.app / "data/old").read_text() == "old"
    assert not (bundle.app / "data/new").exists()


SETUP = "from setuptools import setup\nsetup(name='x', py_modules=[])\n"
SLOW = "import time\nprint('building', flush=True)\ntime.sleep(1)\n" + SETUP
SLOW_SOURCE = {
    "main.py": "",
    "setup.py": SLOW,
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
}


async def begin(system: System, request: BuildRequest) -> asyncio.Task[Bundle]:
    """The build of `request`, once its unit runs."""
    task = asyncio.ensure_future(system.builder.build(request))

    async def runs() -> bool:
        assert not task.done(), task.exception()
        status = await system.driver.status(unit_of(request.revision))
        return status is not None and status.state is UnitState.RUNNING

    await until(runs)
    return task


async def test_a_build_goes_on_when_server_and_node_die_in_the_middle(system: System) -> None:
    request = system.request(system.zip({**SLOW_SOURCE, "x": "resume"}), "rev-resume")
    task = await begin(system, request)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = await system.driver.status(unit_of(request.revision))
    system.kill_node()
    await system.start_node()
    bundle = await Builder(system.data, system.driver, SystemClock()).build(request)
    after = await system.driver.status(unit_of(request.revision))
    assert before and after and before.started_at == after.started_at
    assert bundle.app.is_dir()


async def test_leftovers_are_swept_and_their_units_ended(system: System) -> None:
    request = system.request(system.zip({**SLOW_SOURCE, "x": "sweep"}), "rev-sweep")
    task = await begin(system, request)
    assert await system.builder.sweep(frozenset()) == ()  # it builds
    task.cancel()
    await asyncio.wait([task])
    assert await system.builder.sweep(frozenset({request.revision})) == ()
    assert len(await system.builder.sweep(frozenset())) == 1
    assert [*system.data.builds.iterdir()] == []
    status = await system.driver.status(unit_of(request.revision))
    assert status and status.state is UnitState.EXITED
    bundle = await system.builder.build(request)  # and it can be built again
    assert bundle.app.is_dir()


async def test_a_build_sees_neither_other_sources_nor_the_host(system: System) -> None:
    look = f"import os\nfor path in ('{system.data.root}', '/root/.ssh', '{EXAMPLES}'):\n"
    look += "    assert not os.path.exists(path)\n"
    look += "assert os.getuid() != 0\nassert 'SECRET_OF_THE_SERVER' not in os.environ\n"
    files = {**SLOW_SOURCE, "setup.py": look + SETUP}
    os.environ["SECRET_OF_THE_SERVER"] = "x"
    try:
        await system.builder.build(system.request(system.zip(files), "rev-look"))
    finally:
        del os.environ["SECRET_OF_THE_SERVER"]


@pytest.mark.parametrize("step", ["prepare", "seal", "place", "start", "write-1", "write-2"])
async def test_a_server_killed_after_any_step_finishes_the_build_next_time(
    system: System, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Cancelled right after the step, the builder cleans nothing up, as if it had been killed."""
    request = system.request(system.zip({"main.py": f"print('{step}')"}), f"rev-{step}", Kind.JOB)
    with monkeypatch.context() as patched:
        _kill_after(step, system, patched)
        with pytest.raises(asyncio.CancelledError):
            await system.builder.build(request)
    bundle = await Builder(system.data, system.driver, SystemClock()).build(request)
    assert not (system.data.builds / request.revision).exists()
    unit = await system.run(bundle, f"task-{step}")
    assert (await system.ended(unit), await system.log(unit)) == (0, [step])


def _kill_after(step: str, system: System, patched: pytest.MonkeyPatch) -> None:
    name, _, count = step.partition("-")
    calls: list[None] = []

    def killed() -> None:
        calls.append(None)
        if len(calls) == int(count or 1):
            raise asyncio.CancelledError

    owner: Any = {"start": system.driver, "write": Description}.get(name, builder_module)
    real = getattr(owner, name)

    def after(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        killed()
        return result

    async def after_start(spec: UnitSpec) -> None:
        await real(spec)
        killed()

    patched.setattr(owner, name, after_start if name == "start" else after)
