"""`homeport secrets`: where a value may come from, and where it never goes."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from homeport.cli.commands import secrets
from homeport.sealing.keys import SealingKeys
from homeport.settings import DataDir


def run(*words: str, stdin: str = "") -> Any:
    return CliRunner().invoke(secrets.app, [*words], input=stdin)


def test_a_value_comes_from_standard_input_without_its_last_line_ending(client: Any) -> None:
    for text in ("hush", "hush\n", "hush\r\n"):
        assert run("set", "git", stdin=text).output == "secret git stored\n"
    assert client.sent == [("git", {"value": "hush"})] * 3


def test_a_key_of_several_lines_stays_as_it_is(client: Any, tmp_path: Path) -> None:
    key = "-----BEGIN-----\nhush\n-----END-----\n"
    (tmp_path / "key").write_text(key)
    run("set", "git", "--from-file", str(tmp_path / "key"))
    assert client.sent == [("git", {"value": key})]


def test_parts_come_from_files_of_their_own(client: Any, tmp_path: Path) -> None:
    (tmp_path / "user").write_text("ada\n")
    (tmp_path / "word").write_text("hush\n")
    run("set", "git", "--from-file", f"username={tmp_path}/user", "--from-file", f"password={tmp_path}/word")
    assert client.sent == [("git", {"data": {"username": "ada", "password": "hush"}})]


def test_a_value_among_the_words_is_refused_and_not_repeated(client: Any) -> None:
    result = run("set", "git", "hush")
    assert "history" in str(result.exception) and "hush" not in f"{result.output}{result.exception}"
    assert client.sent == []


@pytest.mark.parametrize("words", [["--from-file", "/nowhere"], ["--from-file", "a", "--from-file", "b"], []])
def test_what_gives_no_value_is_refused(client: Any, words: list[str]) -> None:
    assert run("set", "git", *words).exit_code != 0
    assert client.sent == []


def test_a_new_key_is_put_before_the_old_ones_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    old = SealingKeys.generate()
    old.save(data.sealing_key)
    result = run("rotate-key", "--data", str(tmp_path))
    found = SealingKeys.load(data.sealing_key)
    assert found is not None and found.ids[1:] == old.ids and found.first in result.output
    assert data.sealing_key.stat().st_mode & 0o777 == 0o600 and len([*data.sealing_key.parent.iterdir()]) == 1


def test_without_a_key_there_is_none_to_change(tmp_path: Path) -> None:
    assert "no sealing key" in str(run("rotate-key", "--data", str(tmp_path)).exception)
