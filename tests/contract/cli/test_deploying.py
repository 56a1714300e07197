"""`deploy` against the real API, up to the upload: what follows needs the loops and is shown end to end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.served import Served

Cli = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    (folder / ".venv").mkdir(parents=True)
    (folder / "main.py").write_text("print()")
    (folder / ".env").write_text("TOKEN=hush\n")
    return folder


def test_a_dry_run_shows_everything_and_sends_nothing(cli: Cli, folder: Path) -> None:
    words = ["deploy", "-d", str(folder), "--dryrun", "--env-file", str(folder / ".env"), "-p", "eu-only"]
    shown = cli(*words)
    assert shown.code == 0 and "main.py" in shown.out and ".venv/" in shown.out
    assert "hush" not in shown.out + shown.err
    found = json.loads(cli(*words, "-o", "json").out)
    assert found["archive"]["files"] == ["main.py"] and found["archive"]["ignored"] == [".env", ".venv/"]
    assert found["resource"]["spec"]["policies"] == ["eu-only"]
    assert found["resource"]["spec"]["runtime"]["envs"] == [{"name": "TOKEN", "value": "********", "secret": True}]
    assert cli("get", "agent", "hello").code == 1


def test_a_dry_run_needs_no_server(anywhere: Cli, folder: Path) -> None:
    assert anywhere("deploy", "-d", str(folder), "--dryrun").code == 0


def test_without_waiting_it_returns_once_the_archive_is_there(cli: Cli, served: Served, folder: Path) -> None:
    done = cli("deploy", "-d", str(folder), "--no-wait", "-o", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["status"] == "BUILDING"
    assert "--env-file .env" in done.err, "what is not sent is said"
    assert served.run(served.plane.api.get("/v0/agents/hello")).json()["status"] == "BUILDING"


def test_secrets_of_a_file_are_masked_from_then_on(cli: Cli, folder: Path) -> None:
    assert cli("deploy", "-d", str(folder), "--no-wait", "--env-file", str(folder / ".env")).code == 0
    shown = cli("get", "agent", "hello", "-o", "json").out
    assert "TOKEN" in shown and "hush" not in shown


def test_what_the_server_ignores_is_a_warning(cli: Cli, folder: Path) -> None:
    (folder / "blaxel.toml").write_text('workspace = "theirs"\n[runtime]\nnonsense = 3\n')
    done = cli("deploy", "-d", str(folder), "--no-wait")
    assert done.code == 0
    assert "Warning: blaxel.toml names workspace theirs; this goes to home." in done.err
    assert "nonsense" in done.err


def test_a_policy_that_is_not_there_refuses_before_the_upload(cli: Cli, folder: Path) -> None:
    done = cli("deploy", "-d", str(folder), "-p", "nope")
    assert done.code == 3 and "nope" in done.err and "uploading" not in done.err


def test_a_packed_env_file_is_a_warning(cli: Cli, folder: Path) -> None:
    (folder / ".blaxelignore").write_text(".venv\n")
    done = cli("deploy", "-d", str(folder), "--dryrun")
    assert ".env is packed" in done.err


def test_logins_of_registries_are_sent_with_the_order_and_shown_to_nobody(cli: Cli, folder: Path) -> None:
    config = folder.parent / "config.json"
    config.write_text('{"auths": {"r.io": {"username": "ada", "password": "hush-login"}}}')
    words = ["deploy", "-d", str(folder), "--docker-config", str(config)]
    shown = cli(*words, "--dryrun")
    assert shown.code == 0 and "dockerConfig: '********'" in shown.out and "hush" not in shown.out + shown.err
    assert cli(*words, "--no-wait").code == 0
    kept = cli("get", "agent", "hello", "-o", "json").out
    assert json.loads(kept)["spec"]["runtime"]["dockerConfig"] == "********" and "hush" not in kept


@pytest.mark.parametrize(
    ("text", "rule"), [("hush", "must be JSON"), ('{"auths": {"r.io": {}}, "credsStore": "desktop"}', "credsStore")]
)
def test_a_file_without_usable_logins_is_refused_before_anything_is_sent(
    cli: Cli, folder: Path, text: str, rule: str
) -> None:
    config = folder.parent / "config.json"
    config.write_text(text)
    done = cli("deploy", "-d", str(folder), "--docker-config", str(config))
    assert done.code == 2 and "--docker-config" in done.err and rule in done.err and "hush" not in done.err
    assert cli("get", "agent", "hello").code == 1


def test_a_folder_whose_manifest_names_an_image_is_not_uploaded(cli: Cli, folder: Path) -> None:
    (folder / "blaxel.toml").write_text('image = "r.io/team/tool:1"\n')
    shown = json.loads(cli("deploy", "-d", str(folder), "--dryrun", "-o", "json").out)
    assert shown["archive"] is None and shown["resource"]["spec"]["runtime"]["image"] == "r.io/team/tool:1"
    assert "container engine" in cli("deploy", "-d", str(folder)).err
