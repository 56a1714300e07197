"""`homeport registry`: where a password may come from."""

from typing import Any

from typer.testing import CliRunner

from homeport.cli.commands import registry
from homeport.core.errors import Invalid


def run(*words: str, stdin: str = "") -> Any:
    return CliRunner().invoke(registry.app, [*words], input=stdin)


def test_a_password_comes_from_standard_input_and_is_not_shown(client: Any) -> None:
    done = run("login", "r.io:5", "-u", "ada", "--password-stdin", stdin="hush\n")
    assert done.exit_code == 0 and done.output == "login for r.io:5 stored\n"
    assert client.sent == [("r.io:5", {"username": "ada", "password": "hush"})]


def test_without_a_terminal_nothing_is_taken_for_a_password_by_chance(client: Any) -> None:
    done = run("login", "r.io", "-u", "ada", stdin="hush\n")
    assert isinstance(done.exception, Invalid) and done.exception.field == "--password-stdin"
    assert client.sent == []


def test_a_password_among_the_words_is_refused(client: Any) -> None:
    assert run("login", "r.io", "-u", "ada", "hush", stdin="").exit_code == 2
    assert client.sent == []


def test_a_registry_may_be_written_as_its_address_and_what_is_none_is_refused(client: Any) -> None:
    for written, meant in (("https://index.docker.io/v1/", "docker.io"), ("http://R.io:5/v2/", "r.io:5")):
        assert run("login", written, "-u", "ada", "--password-stdin", stdin="hush\n").exit_code == 0
        assert client.sent[-1][0] == meant
    sent = len(client.sent)
    done = run("login", "r io", "-u", "ada", "--password-stdin", stdin="hush\n")
    assert isinstance(done.exception, Invalid) and "such as ghcr.io" in done.exception.rule
    assert len(client.sent) == sent
