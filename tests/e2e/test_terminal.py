"""The command line in a terminal, as a person has it: Ctrl-C, progress, questions, width and colours."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeport.testing.system import BOUND_S, System, eventually

HOMEPORT = [sys.executable, "-c", "from homeport.cli.main import run; run()"]
CTRL_C = b"\x03"
HELLO = "from http.server import *\nimport os\nHTTPServer(('', int(os.environ['PORT'])), BaseHTTPRequestHandler)"
AGENT = {"main.py": f"{HELLO}.serve_forever()\n"}
SLOW_AGENT = {"main.py": f"import time\nprint('starting', flush=True)\ntime.sleep(8)\n{HELLO}.serve_forever()\n"}
JOB = {"main.py": "import time\ntime.sleep(1)\n", "blaxel.toml": 'type = "job"\n'}
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`homeport WORDS` with a terminal of its own, `columns` wide."""

    def __init__(self, system: System, *words: str, columns: int = 100, **variables: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        hidden = ("BL_", "HOMEPORT_", "NO_COLOR", "COLUMNS", "LINES")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        environment |= {"HOMEPORT_DATA": str(system.data.root), "TERM": "xterm", **variables}
        self._process = subprocess.Popen(
            [*HOMEPORT, *words],
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.shown = ""

    def await_text(self, text: str) -> None:
        """Wait until `text` was shown."""
        deadline = time.monotonic() + BOUND_S
        while text not in self.plain:
            assert time.monotonic() < deadline, f"never shown: {text!r} in {self.plain!r}"
            assert self._read(), f"it ended without {text!r}: {self.plain!r}"

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Read until it ends; its exit code."""
        while self._read():
            pass
        return self._process.wait(BOUND_S)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    @property
    def plain(self) -> str:
        return ESCAPE.sub("", self.shown)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], BOUND_S)
        assert ready, f"nothing more within {BOUND_S} s: {self.plain!r}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


Make = Callable[..., Terminal]


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.fixture
def terminal(system: System, terminals: list[Terminal]) -> Make:
    def make(*words: str, columns: int = 100, **variables: str) -> Terminal:
        terminals.append(Terminal(system, *words, columns=columns, **variables))
        return terminals[-1]

    return make


@pytest.fixture(scope="module")
def agent(system: System) -> Iterator[str]:
    system.deploy("agents", "terminal-agent", AGENT)
    yield "terminal-agent"
    if system.api.get("/agents/terminal-agent").status_code == 200:
        system.remove("agents", "terminal-agent")


def folder_of(files: dict[str, str], folder: Path) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


def test_ctrl_c_ends_following_and_the_deployment_goes_on(system: System, terminal: Make, tmp_path: Path) -> None:
    following = terminal("deploy", "-d", folder_of(SLOW_AGENT, tmp_path / "terminal-slow"))
    following.await_text("terminal-slow: deploying")
    following.type(CTRL_C)
    assert following.end() == 130
    assert "the deployment of agent terminal-slow goes on" in following.plain
    assert "Traceback" not in following.plain
    assert system.settled("agents", "terminal-slow")["status"] == "DEPLOYED"
    system.remove("agents", "terminal-slow")


def test_following_logs_ends_with_ctrl_c(agent: str, terminal: Make) -> None:
    following = terminal("logs", "agent", agent, "--build", "--tail", "1")
    assert following.end() == 0 and "==>" in following.plain
    following = terminal("get", "agents", "--watch")
    following.await_text("DEPLOYED")
    following.type(CTRL_C)
    assert following.end() == 130
    assert "Traceback" not in following.plain


def test_a_table_fits_the_terminal_and_keeps_the_names(agent: str, terminal: Make) -> None:
    narrow = terminal("get", "agents", columns=50)
    assert narrow.end() == 0
    lines = narrow.plain.splitlines()
    assert all(len(line) <= 50 for line in lines), lines
    assert any(line.startswith(f"{agent}  ") and "…" in line for line in lines)
    assert "\x1b[32mDEPLOYED" in narrow.shown


def test_colours_are_for_terminals_that_want_them(system: System, agent: str, terminal: Make) -> None:
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = terminal("get", "agents", **variables)
        assert plain.end() == 0 and "\x1b[32m" not in plain.shown
    piped = system.command("get", "agents")
    assert "\x1b" not in piped.stdout and f"/default/agents/{agent}" in piped.stdout


def test_nobody_is_asked_about_what_is_not_there(system: System, terminal: Make) -> None:
    gone = terminal("delete", "agent", "never-there")
    assert gone.end() == 1 and "There is no agent 'never-there'" in gone.plain and "Delete?" not in gone.plain


def test_deleting_asks_a_person(system: System, terminal: Make) -> None:
    system.deploy("agents", "terminal-gone", AGENT)
    asked = terminal("delete", "agent", "terminal-gone")
    asked.await_text("Delete? [y/N]")
    asked.type(b"n\n")
    assert asked.end() == 1 and "Nothing was deleted." in asked.plain
    left = terminal("delete", "agent", "terminal-gone")
    left.await_text("Delete? [y/N]")
    left.type(CTRL_C)
    assert left.end() == 130
    assert system.api.get("/agents/terminal-gone").status_code == 200
    sure = terminal("delete", "agent", "terminal-gone")
    sure.await_text("Delete? [y/N]")
    sure.type(b"y\n")
    assert sure.end() == 0 and "agent terminal-gone deleted" in sure.plain
    assert system.api.get("/agents/terminal-gone").status_code == 404, "it waits until it is gone"


def test_an_execution_shows_a_bar_and_goes_on_after_ctrl_c(system: System, terminal: Make) -> None:
    system.deploy("jobs", "terminal-job", JOB)
    watching = terminal("run", "job", "terminal-job", "--data", "[{}, {}, {}]")
    watching.await_text("/3")
    watching.type(CTRL_C)
    assert watching.end() == 130 and "goes on" in watching.plain
    execution = re.search(r"exec-\w+", watching.plain)
    assert execution is not None
    assert system.ended("terminal-job", execution[0])["status"] == "succeeded"
    system.remove("jobs", "terminal-job")


def test_a_reader_that_has_enough_is_no_failure_to_talk_about(system: System, agent: str) -> None:
    script = f"{' '.join(map(repr, HOMEPORT))} get agents | head -n 1"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "HOMEPORT_DATA": str(system.data.root)},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert done.stdout.startswith("NAME") and done.stderr == ""


def test_a_login_serves_a_whole_deployment(system: System, tmp_path: Path) -> None:
    hidden = ("BL_", "HOMEPORT_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment |= {"XDG_CONFIG_HOME": str(tmp_path / "config")}

    def homeport(*words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HOMEPORT, *words],
            env=environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )

    assert homeport("login", system.url, input=system.key).returncode == 0
    deployed = homeport("deploy", "-d", folder_of(AGENT, tmp_path / "terminal-away"), "-o", "json")
    assert deployed.returncode == 0, deployed.stderr
    assert '"status": "DEPLOYED"' in deployed.stdout
    assert homeport("delete", "agent", "terminal-away").stdout == "agent terminal-away deleted\n"
    eventually(lambda: system.api.get("/agents/terminal-away").status_code == 404, "gone")
