"""What `homeport gc` must leave alone: what stands beside Homeport's own files, and who looks at them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeport.core.private import drafts_of, write_once
from homeport.leaks.machine import processes
from homeport.leaks.observation import observe
from homeport.settings import DataDir
from homeport.supervise.region import draft_of

FOREIGN = (".ssh/id", ".bashrc", ".admin-key.bak", "config.toml.new", "trial-december/notes", "keys/.signing.json.old")


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path)
    made.create()
    return made


def test_files_of_others_in_the_data_directory_are_no_drafts(data: DataDir) -> None:
    for name in FOREIGN:
        path = data.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert observe(data).drafts == ()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_drafts_of_our_own_are_found(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(os, "link", _killed)
        killed.setattr(Path, "unlink", lambda *_: None)
        for key in (data.admin_key, data.signing_key, data.sealing_key):
            with pytest.raises(KeyboardInterrupt):
                write_once(key, b"key")
    left = [draft for key in (data.admin_key, data.signing_key, data.sealing_key) for draft in drafts_of(key)]
    for more in (data.state.with_suffix(".new"), draft_of(data.config), data.node / "journal.new"):
        more.write_text("x")
        left.append(more)
    assert len(left) == 6
    assert {entry.path for entry in observe(data).drafts} == {*left}


@contextmanager
def _sleeper(place: Path, environment: dict[str, str]) -> Iterator[int]:
    script = "print(flush=True); import time; time.sleep(60)"
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_a_shell_in_a_units_directory_is_no_program_of_it(data: DataDir) -> None:
    place = data.node / "units" / "one" / "home"
    place.mkdir(parents=True)

    def unit_of(pid: int) -> str | None:
        return next(one.unit for one in processes("no-such-group", data.node / "units") if one.pid == pid)

    with _sleeper(place, {"HOME": "/root"}) as shell, _sleeper(Path("/"), {"HOME": str(place)}) as program:
        assert unit_of(shell) is None
        assert unit_of(program) == "one"
    with _sleeper(place, {}) as bare:
        assert unit_of(bare) == "one"
