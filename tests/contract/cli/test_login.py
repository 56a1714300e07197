"""`login` and `logout`, and which installation wins."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.client.logins import logins_file
from homeport.settings import DataDir
from homeport.testing.control_plane import HOME
from homeport.testing.served import Served

Cli = Callable[..., Any]


@pytest.fixture
def logged_in(anywhere: Cli, served: Served) -> Cli:
    done = anywhere("login", served.url, "--workspace", HOME, "--name", "lab", input=f"{served.key}\n")
    assert done.code == 0, done.err
    return anywhere


def test_without_anything_the_ways_are_named(anywhere: Cli) -> None:
    done = anywhere("get", "agents")
    assert done.code == 4
    assert "homeport up" in done.err and "homeport login URL" in done.err


def test_a_login_is_used_where_nothing_else_is_said(logged_in: Cli, served: Served) -> None:
    assert "logged in to" not in logged_in("get", "agents").err
    assert logged_in("get", "agents", "-o", "json").out == "[]\n"
    assert json.loads(logged_in("login", "-o", "json").out) == [
        {"name": "lab", "url": served.url, "workspace": HOME, "current": True}
    ]


def test_keys_are_kept_for_their_owner_only_and_never_shown(logged_in: Cli, served: Served) -> None:
    assert stat.S_IMODE(logins_file().stat().st_mode) == 0o600
    assert served.key in logins_file().read_text()
    shown = [logged_in("login"), logged_in("login", "-o", "yaml"), logged_in("login", "lab")]
    assert not any(served.key in done.out + done.err for done in shown)


def test_what_the_installation_refuses_is_not_stored(anywhere: Cli, served: Served) -> None:
    wrong = anywhere("login", served.url, "-w", HOME, input="nonsense")
    assert wrong.code == 1 and "Nothing was stored" in wrong.err
    foreign = anywhere("login", served.url, "-w", "elsewhere", input=served.key)
    assert foreign.code in (1, 3) and "elsewhere" in foreign.err
    nobody = anywhere("login", "http://127.0.0.1:1", input=served.key)
    assert nobody.code == 4
    assert not logins_file().exists()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a b", "http://h:99999"])
def test_what_is_no_address_is_said(anywhere: Cli, url: str) -> None:
    done = anywhere("login", url, input="key")
    assert done.code == 2 and "http://" in done.err


def test_a_key_comes_from_a_file_too(anywhere: Cli, served: Served, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{served.key}\n")
    assert anywhere("login", f"{served.url}/v0/", "-w", HOME, "--api-key-file", str(tmp_path / "key")).code == 0
    assert anywhere("get", "agents").code == 0
    assert anywhere("login", served.url, "--api-key-file", str(tmp_path / "none")).code == 2
    assert anywhere("login", served.url, input="").code == 2


def test_the_environment_and_a_named_directory_win_over_a_login(
    logged_in: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEPORT_DATA", str(tmp_path / "never"))
    assert logged_in("get", "agents").code == 4, "HOMEPORT_DATA"
    monkeypatch.delenv("HOMEPORT_DATA")
    monkeypatch.setenv("BL_API_URL", "http://127.0.0.1:1/v0")
    monkeypatch.setenv("BL_API_KEY", "k")
    assert logged_in("get", "agents").code == 4, "BL_API_URL"
    monkeypatch.delenv("BL_API_URL")
    monkeypatch.delenv("BL_API_KEY")
    data = DataDir(tmp_path / "named")
    data.root.mkdir()
    data.state.write_text(json.dumps({"url": "http://127.0.0.1:1"}))
    data.admin_key.write_text("k")
    assert logged_in("get", "agents", "--data", str(data.root)).code == 4, "--data"
    assert logged_in("get", "agents").code == 0


def test_an_address_elsewhere_is_never_sent_this_machines_key(
    anywhere: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path / "share" / "homeport")
    data.root.mkdir(parents=True)
    data.admin_key.write_text("the administrator's")
    monkeypatch.setenv("BL_API_URL", "https://homeport.invalid/v0")
    done = anywhere("get", "agents")
    assert done.code == 1 and "There is no key for https://homeport.invalid" in done.err


def test_logging_out_forgets(logged_in: Cli) -> None:
    assert logged_in("logout").out == "logged out of lab\n"
    assert "key" not in json.loads(logins_file().read_text())["logins"]
    assert logged_in("get", "agents").code == 4
    again = logged_in("logout")
    assert again.code == 1 and "not logged in" in again.err
    assert logged_in("logout", "other").code == 1
    assert logged_in("login", "lab").code == 1


def test_a_damaged_file_is_named(logged_in: Cli) -> None:
    logins_file().write_text("{")
    done = logged_in("get", "agents")
    assert done.code == 2 and str(logins_file()) in done.err and "homeport login URL" in done.err
