"""The container engine, as `doctor` tells of it."""

import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread

import pytest

from homeport.settings import DataDir
from homeport.supervise.doctor import Finding, examine
from homeport.supervise.programs import end_containers
from homeport.supervise.progress import PlainProgress


def engine(data: Path) -> Finding:
    return next(finding for finding in examine(DataDir(data)) if finding.what == "engine")


def test_doctor_says_the_lines_that_make_a_region_of_an_engine_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        found = engine(tmp_path)
        assert not found.ok and not found.needed and str(place) in found.found
        assert f'[regions.docks]\ndriver = "docker"\nengine = "unix://{place}"' in found.mend
    (tmp_path / "config.toml").write_text(found.mend.partition("\n")[2])
    silent = engine(tmp_path)
    assert not silent.ok and not silent.needed
    assert f"docks: The engine at unix://{place} does not answer" in silent.found and "[regions.docks]" in silent.mend


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ApiVersion": "1.41"}')

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is pytest's."""


def test_doctor_is_content_with_an_engine_that_answers(tmp_path: Path) -> None:
    place = tmp_path / "docker.sock"
    (tmp_path / "config.toml").write_text(f'[regions.docks]\ndriver = "docker"\nengine = "unix://{place}"\n')
    with UnixStreamServer(str(place), _Answers) as server:
        answering = Thread(target=server.serve_forever)
        answering.start()
        try:
            found = engine(tmp_path)
        finally:
            server.shutdown()
            answering.join()
    assert found.ok and found.found == f"docks: unix://{place}"


def test_doctor_is_content_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.supervise.doctor.usual_engine", lambda: None)
    assert engine(tmp_path).ok and engine(tmp_path).found == "none"


def test_a_stop_goes_on_whatever_becomes_of_engines_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, place = DataDir(tmp_path), tmp_path / "docker.sock"
    region = f'[regions.docks]\ndriver = "docker"\nengine = "unix://{place}"\n'
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place))
        silent.listen()
        for text in ("", "regions = 3", '[regions.local]\nname = "x"'):
            data.config.write_text(text)
            end_containers(data, PlainProgress())
            assert "containers" not in capsys.readouterr().out, text
        for text, said in (("regions = [", "cannot be read"), (region, "longer than 0.2 s")):
            data.config.write_text(text)
            end_containers(data, PlainProgress(), end_bound_s=0.2)
            assert said in capsys.readouterr().out
    end_containers(data, PlainProgress())
    said = capsys.readouterr().out
    assert f"containers may still run, in region docks: The engine at unix://{place} does not answer" in said
    assert "Mend that and `homeport down` again" in said and "ERROR" not in said
