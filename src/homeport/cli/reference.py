"""The reference of the command line, docs/cli.md, made from the commands themselves.

`python -m homeport.cli.reference > docs/cli.md` writes it; a test compares the two, so that it cannot drift.
"""

from collections.abc import Iterator
from typing import Any

from homeport.cli.errors import EXIT_CODES

_HEAD = """# The command line

Made from the commands themselves: `python -m homeport.cli.reference > docs/cli.md`. Every command also says this with
`--help`.

- **Results** go to standard output, everything else to standard error. `-o json` and `-o yaml` print what the API
  answers, whole; tables are for people. Colours and moving lines appear on terminals only, and NO_COLOR is respected.
- **Exit codes**:
  {codes}.
- **Which installation**: `--data`, else BL_API_URL with BL_API_KEY and BL_WORKSPACE, else HOMEPORT_DATA, else the one
  that `homeport login` made current, else the default data directory.
- **Completion**: `homeport --install-completion` teaches it to your shell, names of resources included.
- **Ctrl-C** stops watching, following or waiting. What was asked for goes on, and the message says where to look.
- Options that many commands share: `--data DIR`, `-w` / `--workspace`, `-o` / `--output`, `-h` / `--help`. They are
  left out below.
"""
_SHARED = frozenset({"data", "workspace", "output", "help"})


def reference() -> str:
    """The whole document."""
    from typer.main import get_command

    from homeport.cli.main import app

    root: Any = get_command(app)
    parts = [_HEAD.format(codes=EXIT_CODES.removeprefix("Exit codes: "))]
    for words, command in _commands(root, ("homeport",)):
        parts.append("\n".join(_section(words, command)))
    return "\n".join(parts)


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def _section(words: tuple[str, ...], command: Any) -> Iterator[str]:
    text, examples = _split(command.help or "")
    arguments = [one for one in command.params if one.param_type_name == "argument" and not one.hidden]
    options = [one for one in command.params if one.param_type_name == "option" and not _left_out(one)]
    yield f"## {' '.join(words)}\n"
    yield f"`{' '.join((*words, *(_shown(argument) for argument in arguments)))}`\n"
    yield f"{text}\n"
    if arguments or options:
        yield "| word | meaning |\n|---|---|"
        for one in arguments:
            yield f"| `{_cell(_shown(one))}` | {_cell(one.help)} |"
        for one in options:
            yield f"| {_cell(_option(one))} | {_cell(one.help)} |"
        yield ""
    for example in examples:
        yield f"- `{example}`"
    yield ""


def _split(text: str) -> tuple[str, list[str]]:
    """The prose and the examples of a command's help."""
    prose, _, rest = text.partition("\b\n")
    examples = [line.strip() for line in rest.splitlines() if line.startswith("  ")]
    return prose.strip(), examples


def _left_out(option: Any) -> bool:
    return bool(option.hidden) or option.name in _SHARED


def _shown(argument: Any) -> str:
    name = argument.metavar
    more = "..." if argument.nargs != 1 else ""
    return f"{name if argument.required else f'[{name}]'}{more}"


def _option(option: Any) -> str:
    words = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag else f" {option.metavar}"
    return " ".join(f"`{word}{value if index == len(words) - 1 else ''}`" for index, word in enumerate(words))


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
