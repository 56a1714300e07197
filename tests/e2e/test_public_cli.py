"""The public command line itself, unmodified, against a running Homeport: `bl` where it is installed, else what Go
builds of its pinned version. Elsewhere test_public_cli_replay.py, which always runs, stands in."""

import json
import os
import pty
import shutil
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.sdk import sdk_environment
from homeport.testing.system import System, eventually

PROGRAM = "github.com/blaxel-ai/toolkit@v0.1.108"
BUILD_BOUND_S = 200  # nothing in the caches yet
BOUND_S = 90
# Any of these tells the command line that nobody is there to watch.
CI_SIGNS = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "TRAVIS", "JENKINS_URL", "TEAMCITY_VERSION")

AGENT = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = (await receive()).get("body", b"")
    print("heard", body.decode(), flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"heard": true}'})
"""
JOB = """
import json, os, urllib.request
with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    print("task", json.load(answer)["tasks"][0]["name"], flush=True)
"""
POLICY = """
apiVersion: blaxel.ai/v1alpha1
kind: Policy
metadata:
  name: bl-here
spec:
  type: location
  resourceTypes: [agent]
  locations:
    - type: location
      name: local
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of `bl`. Built once a session; Go keeps what it built for the next one."""
    if found := shutil.which("bl"):
        return found
    if shutil.which("go") is None:
        pytest.skip("neither bl nor go is installed; test_public_cli_replay.py stands in")
    target = tmp_path_factory.mktemp("bl")
    command = ["go", "install", PROGRAM]
    env = {**os.environ, "GOBIN": str(target)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=BUILD_BOUND_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"go did not build {PROGRAM} within {BUILD_BOUND_S} s; test_public_cli_replay.py stands in")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
        pytest.skip(f"go cannot build {PROGRAM} here ({reason}); test_public_cli_replay.py stands in")
    built = target / "toolkit"
    return str(built.rename(target / "bl"))


class Terminal:
    """`bl` with a home of its own and a folder for each thing to deploy."""

    def __init__(self, program: str, system: System, home: Path) -> None:
        self._program, self._home = program, home
        self.env = sdk_environment(system, HOME=str(home), TERM="xterm")

    def project(self, kind: str, name: str, main: str) -> Path:
        folder = self._home / name
        folder.mkdir()
        (folder / "blaxel.toml").write_text(f'name = "{name}"\ntype = "{kind}"\n')
        (folder / "main.py").write_text(textwrap.dedent(main))
        return folder

    def __call__(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [self._program, *words, "--skip-version-warning"],
            env=self.env,
            cwd=cwd or self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def items(self, *words: str) -> list[dict[str, Any]]:
        found = json.loads(self(*words, "-o", "json"))
        assert isinstance(found, list)
        return found

    def watched(self, *words: str, cwd: Path) -> tuple[int, float, str]:
        """Run it in a pseudo-terminal and press Enter now and then, as it asks for once it is done: its exit code,
        how long it took, and what it showed."""
        leader, follower = pty.openpty()
        env = {key: value for key, value in self.env.items() if key not in CI_SIGNS}
        command = [self._program, *words, "--skip-version-warning"]
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        )
        os.close(follower)
        shown = bytearray()
        reader = threading.Thread(target=_drain, args=(leader, shown), daemon=True)
        reader.start()
        try:
            while process.poll() is None and time.monotonic() - began < BOUND_S:
                time.sleep(1)
                if b"DEPLOYED" in shown.upper() or b"SUCCESS" in shown.upper():
                    os.write(leader, b"\r")
            assert process.poll() is not None, shown.decode(errors="replace")
        finally:
            process.kill()
            process.wait()
            reader.join(timeout=5)
            os.close(leader)
        return process.returncode, time.monotonic() - began, shown.decode(errors="replace")


def _drain(leader: int, shown: bytearray) -> None:
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:  # the other end is closed: the program has ended
            return


@pytest.fixture(scope="module")
def bl(program: str, system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    terminal = Terminal(program, system, tmp_path_factory.mktemp("home"))
    terminal("login", "default")
    yield terminal
    for kind, name in (("agents", "bl-agent"), ("agents", "bl-watched"), ("jobs", "bl-job"), ("policies", "bl-here")):
        system.api.delete(f"/{kind}/{name}")


def test_an_agent_is_deployed_read_run_and_deleted(bl: Terminal, system: System) -> None:
    bl("deploy", "-y", cwd=bl.project("agent", "bl-agent", AGENT))
    assert system.settled("agents", "bl-agent")["status"] == "DEPLOYED"
    assert "bl-agent" in [item["metadata"]["name"] for item in bl.items("get", "agents")]
    assert [item["metadata"]["name"] for item in bl.items("get", "agent", "bl-agent")] == ["bl-agent"]
    assert "heard" in bl("run", "agent", "bl-agent", "-d", '{"inputs": "hi"}')
    eventually(lambda: "heard" in bl("logs", "agent", "bl-agent"), "the log has the call")
    bl("delete", "agent", "bl-agent")


def test_a_job_is_deployed_run_and_its_executions_read(bl: Terminal, system: System) -> None:
    bl("deploy", "-y", cwd=bl.project("job", "bl-job", JOB))
    assert system.settled("jobs", "bl-job")["status"] == "DEPLOYED"
    bl("run", "job", "bl-job", "-d", '{"tasks": [{"name": "one"}]}')
    executions = bl.items("get", "job", "bl-job", "executions")
    assert system.ended("bl-job", executions[0]["metadata"]["id"])["status"] == "succeeded"
    beginning = executions[0]["metadata"]["id"][:8]
    eventually(lambda: "task one" in bl("logs", "job", "bl-job", beginning), "the log has the task")
    bl("delete", "job", "bl-job")


def test_an_image_is_pushed_listed_deployed_without_a_build_and_deleted(bl: Terminal, system: System) -> None:
    folder = bl.project("job", "bl-pushed", JOB)
    bl("push", "-y", cwd=folder)
    shown = bl("get", "image", "job/bl-pushed", "-o", "json")
    assert "bl-pushed" in shown and "bl-pushed" in bl("get", "images")
    manifest = folder / "job.yaml"
    manifest.write_text(
        "apiVersion: blaxel.ai/v1alpha1\nkind: Job\nmetadata:\n  name: bl-pushed\n"
        "spec:\n  runtime:\n    image: job/bl-pushed:latest\n    memory: 128\n"
    )
    bl("apply", "-f", str(manifest))
    assert system.settled("jobs", "bl-pushed")["status"] == "DEPLOYED"
    bl("deploy", "-y", "--skip-build", cwd=folder)
    assert system.settled("jobs", "bl-pushed")["status"] == "DEPLOYED"
    system.remove("jobs", "bl-pushed")
    bl("delete", "image", "job/bl-pushed")
    assert system.api.get("/images/job/bl-pushed").status_code == 404


def test_a_policy_is_applied_twice_and_deleted(bl: Terminal, tmp_path: Path) -> None:
    manifest = tmp_path / "policy.yaml"
    manifest.write_text(POLICY)
    for _ in range(2):
        bl("apply", "-f", str(manifest))
    assert "bl-here" in [item["metadata"]["name"] for item in bl.items("get", "policies")]
    bl("delete", "policy", "bl-here")


def test_a_deployment_in_a_terminal_ends_by_itself(bl: Terminal, system: System) -> None:
    code, seconds, shown = bl.watched("deploy", cwd=bl.project("agent", "bl-watched", AGENT))
    assert code == 0 and seconds < BOUND_S, shown
    assert system.settled("agents", "bl-watched")["status"] == "DEPLOYED"
