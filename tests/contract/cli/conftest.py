"""The command line against the real API on a real store. It runs in this process: what a person types is given to the
entry point, and what it prints and how it exits come back."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from homeport.cli.main import run
from homeport.settings import DataDir
from homeport.testing.control_plane import HOME
from homeport.testing.served import Served, served_control_plane


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def served(tmp_path: Path, empty_database: Path) -> Iterator[Served]:
    data = DataDir(tmp_path / "data")
    data.create()
    shutil.copyfile(empty_database, data.database)
    data.database.chmod(0o600)
    with served_control_plane(data.root) as served:
        yield served


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that leads to no installation."""
    for name in ("BL_API_URL", "BL_API_KEY", "BL_WORKSPACE", "HOMEPORT_DATA", "HOMEPORT_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setattr("homeport.client.installation.default_data", lambda: tmp_path / "share" / "homeport")


@pytest.fixture
def anywhere(nowhere: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`homeport WORDS`, with `input` on standard input."""

    def cli(*words: str, input: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["homeport", *words])
        monkeypatch.setattr(sys, "stdin", StringIO(input))
        capsys.readouterr()
        try:
            run()
            code: object = 0
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, out, err)

    return cli


@pytest.fixture
def cli(anywhere: Cli, served: Served, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`homeport WORDS` as an administrator of the served control plane."""
    monkeypatch.setenv("BL_API_URL", f"{served.url}/v0")
    monkeypatch.setenv("BL_API_KEY", served.key)
    monkeypatch.setenv("BL_WORKSPACE", HOME)
    return anywhere
