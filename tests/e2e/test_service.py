"""What `homeport service install` writes, run as systemd runs it: no terminal, next to no environment, a socket for the
news. systemd itself is not run here; `test_systemd_understands_every_line_of_the_unit` has it read the unit."""

import json
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeport.testing.reboot import boot, cut_the_power
from homeport.testing.system import BOUND_S, System

AGENT = {
    "main.py": """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(LIFE)

    def log_message(self, *args):
        pass

LIFE = open("/proc/sys/kernel/random/uuid", "rb").read() + str(os.environ.get("NOTIFY_SOCKET")).encode()
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
}


class Manager:
    """Does of systemd what the unit asks for: ExecStart, the socket of Type=notify, and signals to the main process."""

    def __init__(self, system: System, folder: Path) -> None:
        shown = system.command("service", "install", "--print", "--port", str(system.port), "-o", "json")
        assert shown.returncode == 0, shown.stderr
        unit = json.loads(shown.stdout)["unit"]
        self.command = shlex.split(next(line for line in unit.splitlines() if line.startswith("ExecStart="))[10:])
        assert "KillMode=process" in unit, "what follows signals the main process only"
        self._socket, self._log = folder / "notify", folder / "journal"

    @contextmanager
    def started(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The main process, ready. It is killed at the end if it lives."""
        self._socket.unlink(missing_ok=True)
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news, self._log.open("ab") as journal:
            news.bind(str(self._socket))
            news.settimeout(BOUND_S)
            with subprocess.Popen(
                self.command,
                env={**env, "NOTIFY_SOCKET": str(self._socket)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                start_new_session=True,
                umask=0o022,
            ) as process:
                try:
                    assert news.recv(4096).startswith(b"READY=1"), self._log.read_text()
                    yield process
                finally:
                    process.kill()


def test_the_unit_brings_everything_back_after_a_power_loss_and_a_crash_cuts_nothing(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    manager = Manager(system, tmp_path)
    try:
        with manager.started():
            system.connect()
            system.deploy("agents", "keeper", AGENT)
            first = _answer(system)
            assert first.endswith("None"), "the manager's socket is not for programs"
            cut_the_power(system.data)
        with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
            boot(system.data, stranger.pid)
            with manager.started() as up:
                second = _answer(system)
                assert second != first, "the program was started anew by the boot"
                up.send_signal(signal.SIGKILL)  # `up` alone dies, which Restart=on-failure answers
                up.wait(BOUND_S)
                assert _answer(system) == second, "what runs goes on without it"
            with manager.started() as up:
                assert _answer(system) == second, "the next one adopts what runs"
                up.send_signal(signal.SIGTERM)  # systemctl stop
                assert up.wait(BOUND_S) == 0, "no failure, so that it stays stopped"
            stranger.kill()
        assert "Nothing of Homeport runs" in system.command("down").stdout, "a stop has ended everything"
    finally:
        system.down()


def _answer(system: System) -> str:
    answer = system.gateway.post("/agents/keeper", json={})
    assert answer.status_code == 200, answer.text
    return answer.text
