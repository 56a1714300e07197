"""Damaged or missing files: a start is refused in words, and nothing is made in the place of what is lost."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from homeport.core.service import REFUSED
from homeport.settings import DataDir
from homeport.testing.system import BOUND_S, System


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation that ran once and is stopped."""
    system = System(tmp_path_factory.mktemp("damage") / "data")
    system.up()
    system.down()
    yield system


def _overwrite(path: Path, start: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(8 * 4096))


def _make_newer(data: DataDir) -> None:
    with closing(sqlite3.connect(data.database)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")


def _empty_beside_its_log(data: DataDir) -> None:
    data.database.write_bytes(b"")
    data.database.with_name("homeport.db-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(4096))


DAMAGES: dict[str, tuple[Callable[[DataDir], object], str, str]] = {
    "pages": (lambda data: _overwrite(data.database, 3 * 4096), "homeport.db is damaged", "backup"),
    "header": (lambda data: _overwrite(data.database, 0), "homeport.db is damaged or is not a database", "backup"),
    "cut off": (lambda data: os.truncate(data.database, 20_000), "homeport.db is damaged", "backup"),
    "empty": (_empty_beside_its_log, "it is empty, and homeport.db-wal beside it is not", "backup"),
    "no database": (lambda data: data.database.unlink(), "homeport.db is missing", "backup"),
    "newer": (_make_newer, "made by a newer Homeport (schema 9999", "newer version"),
    "no signing key": (lambda data: data.signing_key.unlink(), "signing.json is missing", "backup"),
    "signing key": (lambda data: data.signing_key.write_text("{"), "signing.json are damaged", "backup"),
    "sealing key": (lambda data: data.sealing_key.write_text("{"), "sealing.json are damaged", "backup"),
    "no sealing key": (lambda data: data.sealing_key.unlink(), "sealing.json is missing", "backup"),
    "not a file": (lambda data: (data.signing_key.unlink(), data.signing_key.mkdir()), "Is a directory", "owner"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_server_refuses_to_start_and_says_what_is_damaged_and_what_to_do(stopped: System, name: str) -> None:
    damage, message, hint = DAMAGES[name]
    data = stopped.data
    parts = (data.database, data.signing_key, data.sealing_key)
    kept = {path: path.read_bytes() for path in parts}
    try:
        damage(data)
        found = {path: path.read_bytes() for path in parts if path.is_file()}
        command = [sys.executable, "-m", "homeport.server", "--data", str(data.root), "--port", str(stopped.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
        assert done.returncode == REFUSED, done.stderr
        assert message in done.stderr and hint in done.stderr and str(data.root) in done.stderr
        assert "Traceback" not in done.stderr
        left = {path: path.read_bytes() for path in parts if path.is_file()}
        assert left == found, "it is left as it was found"
    finally:
        if data.signing_key.is_dir():
            data.signing_key.rmdir()
        data.database.with_name("homeport.db-wal").unlink(missing_ok=True)
        for path, content in kept.items():
            path.write_bytes(content)


def test_up_says_at_the_terminal_why_it_refuses_and_starts_once_a_backup_is_back(stopped: System) -> None:
    kept = stopped.data.database.read_bytes()
    _overwrite(stopped.data.database, 3 * 4096)
    done = stopped.command("up", "--port", str(stopped.port), "--detach")
    assert done.returncode == 1
    assert "server does not start" in done.stderr and f"{stopped.data.database} is damaged" in done.stderr
    assert "put back a backup" in done.stderr and "Traceback" not in done.stderr
    stopped.data.database.write_bytes(kept)
    stopped.up()
    stopped.down()


def test_up_refuses_settings_that_cannot_be_read(stopped: System) -> None:
    stopped.data.config.write_text("[limits\n")
    try:
        done = stopped.command("up", "--detach")
        assert done.returncode == 1, done.stderr
        assert str(stopped.data.config) in done.stderr and "Traceback" not in done.stderr
    finally:
        stopped.data.config.unlink()
