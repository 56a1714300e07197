"""The container engine, as `doctor` tells of it."""

import socket
from pathlib import Path

import pytest

from homeport.settings import DataDir
from homeport.supervise.host import Finding, examine


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
        assert engine(tmp_path).ok and f"docks: unix://{place}" in engine(tmp_path).found


def test_doctor_is_content_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.supervise.host.usual_engine", lambda: None)
    assert engine(tmp_path).ok and engine(tmp_path).found == "none"
