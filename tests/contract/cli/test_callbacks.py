"""Callbacks and asynchronous calls on the command line, against the real API."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.cli.commands.applying import says_nothing_new
from homeport.core.fields import MASK

Cli = Callable[..., Any]
URL = "https://93.184.216.34/done"
SHOWN = re.compile(r"callbacks of the trigger later; nothing shows it again: ([\w-]{32,})$", re.M)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "main.py").write_text("print()")
    (folder / "blaxel.toml").write_text(
        f'[[triggers]]\nid = "later"\ntype = "http-async"\nconfiguration = {{path = "later", callbackUrl = "{URL}"}}\n'
    )
    return folder


def test_the_secret_of_a_callback_is_shown_once_by_whatever_made_it(cli: Cli, folder: Path) -> None:
    first = cli("deploy", "-d", str(folder), "--no-wait")
    assert first.code == 0 and SHOWN.search(first.err), first.err
    assert not SHOWN.search(cli("deploy", "-d", str(folder), "--no-wait").err)
    stored = json.loads(cli("get", "agent", "hello", "-o", "json").out)
    assert stored["spec"]["triggers"][0]["configuration"]["callbackSecret"] == MASK
    added = {"id": "too", "type": "http-async", "configuration": {"path": "too", "callbackUrl": URL}}
    stored["spec"]["triggers"].append(added)
    manifest = json.dumps({"kind": "Agent", "metadata": {"name": "hello"}, "spec": stored["spec"]})
    applied = cli("apply", "-f", "-", input=manifest)
    assert applied.code == 0 and "of the trigger too;" in applied.err and "of the trigger later" not in applied.err


def test_a_manifest_with_a_callback_that_is_stored_already_is_not_sent_again() -> None:
    asked = {"path": "later", "callbackUrl": URL}
    wanted = {"metadata": {"name": "a"}, "spec": {"triggers": [{"id": "later", "configuration": asked}]}}
    kept = {"triggers": [{"id": "later", "configuration": {**asked, "callbackSecret": MASK}}]}
    stored = {"status": "DEPLOYED", "metadata": {"name": "a"}, "spec": kept}
    assert says_nothing_new(wanted, stored)
    assert kept["triggers"][0]["configuration"]["callbackSecret"] == MASK, "what was read is left as it is"  # type: ignore[index]
    moved = {"triggers": [{"id": "later", "configuration": {**asked, "callbackUrl": URL + "/2"}}]}
    assert not says_nothing_new({**wanted, "spec": moved}, stored)


def test_an_agent_without_a_callback_is_told_so(cli: Cli, folder: Path) -> None:
    (folder / "blaxel.toml").unlink()
    assert cli("deploy", "-d", str(folder), "--no-wait").code == 0
    done = cli("invocations", "rotate-secret", "hello")
    assert done.code == 1 and "The agent 'hello' has no trigger with a callbackUrl." in done.err


def test_times_of_calls_are_written_as_everywhere(cli: Cli) -> None:
    assert cli("invocations", "list", "--since", "10m", "--until", "1m").code == 0
    wrong = cli("invocations", "list", "--since", "yesterday")
    assert wrong.code == 2 and "--since: must be a duration such as 10m" in wrong.err


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        ({"type": "cron"}, "a trigger of type cron without a schedule calls nobody"),
        ({"type": "http", "configuration": {"path": "now", "callbackUrl": URL}}, "a trigger of type http answers its"),
        ({"type": "cron", "configuration": {"schedule": "0 3 * * *", "callbackUrl": URL}}, ""),
        ({"configuration": {"schedule": "0 3 * * *", "callbackUrl": URL}}, ""),
        ({"type": "http-async", "configuration": {"callbackUrl": URL}}, ""),
    ],
)
def test_a_trigger_that_can_do_nothing_is_told(cli: Cli, folder: Path, trigger: dict[str, Any], why: str) -> None:
    (folder / "blaxel.toml").unlink()
    assert cli("deploy", "-d", str(folder), "--no-wait").code == 0
    manifest = {"kind": "Agent", "metadata": {"name": "hello"}, "spec": {"triggers": [trigger]}}
    done = cli("apply", "-f", "-", input=json.dumps(manifest))
    assert done.code == 0
    assert ("has no effect" in done.err, why in done.err) == (bool(why), True), done.err
