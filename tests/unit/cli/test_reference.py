"""docs/cli.md and `--help`: what the commands say of themselves."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from homeport.cli.main import app
from homeport.cli.reference import reference

ROOT = Path(__file__).parents[3]
HELP_BOUND_S = 3.0  # 0.15 s where nothing else runs
HOMEPORT = [sys.executable, "-c", "from homeport.cli.main import run; run()"]


def commands(group: Any, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        inner = commands(command, (*words, name)) if hasattr(command, "commands") else {(*words, name): command}
        found |= inner
    return found


COMMANDS = commands(get_command(app))


def test_the_reference_is_what_the_commands_say() -> None:
    told = "python -m homeport.cli.reference > docs/cli.md"
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), f"make it anew: {told}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_teaches_by_example(words: tuple[str, ...]) -> None:
    text = COMMANDS[words].help
    examples = [line.strip() for line in text.partition("\b\nExample")[2].splitlines()[1:]]
    assert any(f"homeport {' '.join(words)}" in example for example in examples), text


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_word_of_a_command_is_explained(words: tuple[str, ...]) -> None:
    unexplained = [param.name for param in COMMANDS[words].params if not param.hidden and not param.help]
    assert unexplained == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_first_sentence_fits_a_list_of_commands(words: tuple[str, ...]) -> None:
    first = COMMANDS[words].help.partition("\n\n")[0]
    assert first.endswith(".") and len(first) <= 64, first


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_names_no_type_of_python(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    with command.make_context(" ".join(("homeport", *words)), ["-h"], resilient_parsing=True) as context:
        context.terminal_width = 80
        lines = command.get_help(context).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if line.startswith("  -") and ("<str>" in line or "list[" in line)] == []


def test_help_is_there_at_once() -> None:
    start = time.monotonic()
    subprocess.run([*HOMEPORT, "--help"], check=True, capture_output=True, timeout=60)
    assert time.monotonic() - start < HELP_BOUND_S
