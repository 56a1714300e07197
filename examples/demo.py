"""Homeport's main job in one go: an agent, a function, a container, a job, a policy. Run by `make demo` or
`python examples/demo.py`.

Everything is done by the `homeport` command, each line shown before it runs, in a data directory of its own that is
removed at the end, on a free port. Any failure ends it with a non-zero exit code; then, and at Ctrl-C, everything that
it started is stopped all the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from homeport.drivers.docker.address import usual_engine
from homeport.engines import installation_name
from homeport.testing.engines import EngineProcess, python_files

EXAMPLES = Path(__file__).resolve().parent
TASKS = EXAMPLES / "word-count-job" / "tasks.json"
BASE = "homeport-demo-base:1"
STEP_BOUND_S = 300  # a cold package cache takes its time; a warm one needs seconds
REFUSED = 3  # exit code of what a policy refuses


class DemoFailed(Exception):
    """A step did not do what it must."""


class Demo:
    """The scenes, with the installation that they play in."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("BL_")}
        self._environment |= {"HOMEPORT_DATA": str(data)}
        url = usual_engine()
        self._engine = EngineProcess(data, url) if url else None
        if self._engine is not None and not self._engine.answers():
            self._engine = None
        if self._engine is not None:
            (data / "config.toml").write_text(f'[regions.docks]\ndriver = "docker"\nengine = "{url}"\n')
        self._homeport = [sys.executable, "-c", "from homeport.cli.main import run; run()"]

    def play(self) -> None:
        self.scene("Start Homeport: one data directory, one port. We say that this machine stands in the USA.")
        self.run("up", "--detach", "--country", "US", "--continent", "NA")
        self.run("status")

        self.scene("Deploy a folder: its dependencies are installed in a sandbox, and it becomes an HTTP endpoint.")
        self.run("deploy", "-d", "examples/hello-agent")

        self.scene("Call it through the gateway, with the key that the first start made.")
        answer = self.run("run", "agent", "hello-agent", "-d", '{"inputs": "How is the weather?"}', read=True)
        self.expect("inputs" in json.loads(answer), "the agent's answer")

        self.scene("Stream from it: each event is shown when it is sent.")
        streamed = self.run("run", "agent", "hello-agent", "--path", "stream", "--stream", read=True)
        self.expect(streamed.count("data:") > 1, "a stream of events")

        self.scene("A function is an MCP server: agents and other MCP clients find its tools behind the same gateway.")
        self.run("deploy", "-d", "examples/text-tools")
        said = self.run("run", "function", "text-tools", read=True)
        self.expect('"name":"text-tools"' in said, "the MCP server's answer")

        self.play_container()

        self.scene("A job: 20 tasks in parallel. One fails at its first attempt and is tried again.")
        self.run("deploy", "-d", "examples/word-count-job")
        self.run("run", "job", "word-count", "--file", "examples/word-count-job/tasks.json")
        self.check_execution()

        self.scene("A policy: programs that carry it run in Europe only. This machine is not there, so it refuses.")
        self.run("apply", "-f", "examples/policies/eu-only.yaml")
        self.run("deploy", "-d", "examples/hello-agent", "--name", "hello-europe", "--policy", "eu-only", code=REFUSED)
        self.scene("The refused program was never stored. Every decision can be explained, the favourable ones too.")
        self.run("explain", "agent", "hello-agent")
        self.run("get", "agents")

    def play_container(self) -> None:
        """A scene for machines with a container engine; it uses the one that is there, and starts none."""
        if self._engine is None:
            self.scene("A folder with a Dockerfile: skipped, since no container engine (Docker, Podman) answers here.")
            return
        self.scene("A folder with a Dockerfile: the container engine builds it, and it runs in a container.")
        folder = self._data / "dockerfile-agent"
        shutil.copytree(EXAMPLES / "dockerfile-agent", folder)
        print("Its base is named by a build argument; here, one made of this machine's own files:", flush=True)
        self._engine.make_image(BASE, python_files())
        (folder / ".env.build").write_text(f"BASE={BASE}\n")
        print(f"$ cat {folder}/.env.build\nBASE={BASE}", flush=True)
        self.run("deploy", "-d", str(folder))
        answer = self.run("run", "agent", "dockerfile-agent", "-d", '{"inputs": "Where are you?"}', read=True)
        self.expect(json.loads(answer)["answer"].startswith("Ahoy"), "the container's answer")
        self.run("logs", "agent", "dockerfile-agent", "--build")

    def check_execution(self) -> None:
        """The summary is for people; this is the proof."""
        listed = json.loads(self.run("executions", "list", "word-count", "-o", "json", read=True, show=False))
        stats = listed[0]["stats"]
        tasks = len(json.loads(TASKS.read_text())["tasks"])
        self.expect(listed[0]["status"] == "succeeded" and stats["success"] == tasks, f"{tasks} succeeded tasks")
        self.expect(stats.get("retried", 0) >= 1, "a task that was tried again")

    def stop(self) -> None:
        """Stop the installation and make sure that nothing of it is left."""
        self.scene("Stop it. Nothing is left behind.")
        ran = self._family()
        self.run("down")
        deadline = time.monotonic() + 10
        while left := [pid for pid, started in ran.items() if _processes().get(pid, (0, 0))[1] == started]:
            if time.monotonic() > deadline:
                raise DemoFailed(f"these processes are left: {left}")
            time.sleep(0.05)
        print(f"{len(ran)} processes ran, none is left", flush=True)
        if self._engine is not None:
            self._engine.forget_installation(installation_name(self._data))
            self._engine.remove_images()

    def scene(self, text: str) -> None:
        print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)

    def run(self, *words: str, code: int = 0, read: bool = False, show: bool = True) -> str:
        """Run `homeport WORDS`, shown first. Returns its output where `read` asks for it (it is shown as well)."""
        if show:
            print(f"$ homeport {' '.join(_quoted(words))}", flush=True)
        with subprocess.Popen(
            [*self._homeport, *words],
            cwd=EXAMPLES.parent,
            env=self._environment,
            stdout=subprocess.PIPE if read else None,
            stderr=None if read or sys.stderr.isatty() else sys.stdout,  # in one stream both keep their order
            text=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=STEP_BOUND_S)
            except BaseException:
                process.send_signal(signal.SIGINT)  # not SIGKILL: what it started is its own to stop
                raise
        if read and show:
            print(output, end="" if output.endswith("\n") else "\n", flush=True)
        if process.returncode != code:
            raise DemoFailed(f"`homeport {' '.join(words)}` ended with exit code {process.returncode}, not {code}")
        if code:
            print(f"(exit code {code})", flush=True)
        return output or ""

    def expect(self, fact: bool, what: str) -> None:
        if not fact:
            raise DemoFailed(f"the last step did not show {what}")

    def _family(self) -> dict[int, int]:
        """The processes of this installation, programs in their sandboxes included: pid and start time."""
        try:
            state = json.loads((self._data / "up.json").read_text())
        except FileNotFoundError:
            return {}
        processes = _processes()
        members = {held["pid"] for held in (*state["components"].values(), state["supervisor"]) if held}
        while more := {pid for pid, (parent, _) in processes.items() if parent in members} - members:
            members |= more
        return {pid: processes[pid][1] for pid in members if pid in processes}


def _processes() -> dict[int, tuple[int, int]]:
    """Every living process: its parent and its start time."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if fields[0] not in ("Z", "X"):
                found[int(entry.name)] = (int(fields[1]), int(fields[19]))
    return found


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up, then end
    started = time.monotonic()
    data = Path(tempfile.mkdtemp(prefix="homeport-demo-"))
    demo = Demo(data)
    code = 0
    try:
        demo.play()
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        code = 130
    except (DemoFailed, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr, flush=True)
        _show_logs(data)
        code = 1
    try:
        demo.stop()
        shutil.rmtree(data)
    except (DemoFailed, subprocess.TimeoutExpired, OSError) as error:
        print(f"Could not clean up {data}: {error}", file=sys.stderr, flush=True)
        return code or 1
    if code == 0:
        print(f"\nDone in {time.monotonic() - started:.0f} s. Try next, with data of your own:")
        print("  .venv/bin/homeport up                       # stays until Ctrl-C")
        print("  .venv/bin/homeport deploy -d examples/hello-agent")
        print('  eval "$(.venv/bin/homeport env)"            # the public SDKs and command line, pointed here')
        print("  .venv/bin/homeport --help")
    return code


def _show_logs(data: Path, lines: int = 8) -> None:
    for log in sorted((data / "logs").glob("*.log")):
        tail = log.read_text(errors="replace").splitlines()[-lines:]
        if tail:
            print(f"--- the end of {log.name}", *tail, sep="\n", file=sys.stderr, flush=True)


def _quoted(words: Sequence[str]) -> list[str]:
    return [f"'{word}'" if set(word) & set(' "{}') else word for word in words]


if __name__ == "__main__":
    sys.exit(main())
