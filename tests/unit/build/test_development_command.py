"""Which command starts a source of `homeport dev`."""

from pathlib import Path

from homeport.build.detect import detect
from homeport.build.manifest import Manifest
from homeport.core.ids import Kind
from homeport.core.packing import DEV_MARK

BOTH = Manifest(entrypoint_prod="python serve.py", entrypoint_dev="python serve.py --debug")


def test_the_development_command_runs_in_homeport_dev_only(tmp_path: Path) -> None:
    assert detect(tmp_path, BOTH, Kind.AGENT).argv == ("python", "serve.py")
    (tmp_path / DEV_MARK).touch()
    found = detect(tmp_path, BOTH, Kind.AGENT)
    assert found.argv == ("python", "serve.py", "--debug") and "[entrypoint] dev" in found.why


def test_without_one_homeport_dev_runs_the_ordinary_command(tmp_path: Path) -> None:
    (tmp_path / DEV_MARK).touch()
    assert detect(tmp_path, Manifest(entrypoint_prod="python serve.py"), Kind.AGENT).argv == ("python", "serve.py")
    (tmp_path / "main.py").write_text("print(1)\n")
    assert detect(tmp_path, Manifest(), Kind.AGENT).argv == ("python", "main.py")
