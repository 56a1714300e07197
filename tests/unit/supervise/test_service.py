"""The systemd unit: what it says, that systemd understands it, and what is refused."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from homeport.core.errors import Conflict, Invalid, NotFound, Unavailable
from homeport.settings import DataDir
from homeport.supervise import service as systemd
from homeport.supervise.notify import Manager
from homeport.supervise.service import Service, named, unit_text


def _service(**more: object) -> Service:
    words = ("--host", "0.0.0.0", "--drain", "45", "--port", "9000")
    return Service(**{"name": "homeport", "data": DataDir(Path("/srv/a b%c$d")), "words": words, "drain_s": 45} | more)  # type: ignore[arg-type]


def _lines(service: Service) -> list[str]:
    return unit_text(service).splitlines()


def test_the_unit_runs_up_with_its_options_and_stops_it_as_down_does() -> None:
    lines = _lines(_service())
    command = next(line for line in lines if line.startswith("ExecStart="))
    assert '-m homeport.supervise --data "/srv/a b%%c$$d" --host 0.0.0.0 --drain 45 --port 9000' in command
    assert {"Type=notify", "KillMode=process", "Delegate=yes", "Restart=on-failure"} <= {*lines}
    assert "TimeoutStopSec=165" in lines, "longer than the drain and what the components may take"
    assert "WantedBy=multi-user.target" in lines and "After=network-online.target" in lines


def test_a_users_unit_belongs_to_the_users_own_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    service = _service(user=True)
    assert service.path == tmp_path / "systemd/user/homeport.service"
    assert "WantedBy=default.target" in _lines(service)
    assert not any("network-online" in line for line in _lines(service)), "a user's manager has no such target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, which reads the unit")
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "homeport.service"
    unit.write_text(unit_text(_service()))
    read = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert read.returncode == 0 and unit.name not in read.stderr, read.stderr


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="--name"):
        named("../evil", DataDir(Path("/srv/x")))


class _Systemctl:
    """A systemctl that notes what it was asked; the real one cannot be run by a test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.state = folder / "asked", folder / "state"
        folder.mkdir()
        program = folder / "systemctl"
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$*" >> {self.asked}\n'
            'case "$1" in\n'
            f"is-active) grep -q active {self.state} ;; is-enabled) grep -q enabled {self.state} ;;\n"
            f"start) echo active >> {self.state} ;; enable) echo enabled >> {self.state} ;;\n"
            f"disable) : > {self.state} ;;\n"
            "esac\n"
        )
        program.chmod(0o755)
        self.state.touch()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(systemd, "_RUNNING", folder)
        monkeypatch.setattr(systemd, "_SYSTEM_UNITS", folder / "units")

    def changes(self) -> list[str]:
        """What was asked for since the last look, but for questions."""
        words = [line for line in self.asked.read_text().splitlines() if not line.startswith("is-")]
        self.asked.write_text("")
        return words


def test_installing_twice_changes_nothing_and_other_options_wait_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = _Systemctl(tmp_path / "bin", monkeypatch)
    service = _service(data=DataDir(tmp_path / "data"))
    assert "it runs" in systemd.install(service, start=True)
    wanted = ["daemon-reload", "enable --quiet homeport.service", "start homeport.service"]
    assert systemctl.changes() == wanted
    assert "nothing to do" in systemd.install(service, start=True)[0]
    assert systemctl.changes() == []
    changed = systemd.install(_service(data=service.data, words=("--port", "9001")), start=True)
    assert "systemctl restart homeport" in changed[-1] and systemctl.changes() == ["daemon-reload"]
    with pytest.raises(Conflict, match="for the data directory"):
        systemd.install(_service(data=DataDir(tmp_path / "other")), start=True)
    assert systemd.uninstall(service)[0].startswith("homeport.service stopped and removed")
    assert not service.path.exists()
    with pytest.raises(NotFound):
        systemd.uninstall(service)


def test_a_unit_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _Systemctl(tmp_path / "bin", monkeypatch)
    service = _service(data=DataDir(tmp_path / "data"))
    service.path.parent.mkdir()
    service.path.write_text("[Service]\nExecStart=/bin/true\n")
    for act in (lambda: systemd.install(service, start=False), lambda: systemd.uninstall(service)):
        with pytest.raises(Conflict, match="not made by"):
            act()
    assert service.path.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_without_systemd_the_next_step_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_RUNNING", tmp_path / "none")
    with pytest.raises(Unavailable) as refused:
        systemd.install(_service(), start=True)
    assert "homeport up --data" in refused.value.hint and "--print" in refused.value.hint


def test_readiness_is_told_once_and_the_socket_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        Manager().tell("READY=1", "STATUS=ready")
        assert listening.recv(1024) == b"READY=1\nSTATUS=ready"
    assert "NOTIFY_SOCKET" not in os.environ
    Manager().tell("READY=1")  # nobody listens: nothing happens
