"""The entry point `homeport`: registers the commands and turns errors into sentences and exit codes."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from homeport.cli.commands import deploy, executions, explain, logs, resources, running, secrets, system

EXIT_CODES = (
    "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 refused by a policy or for want of a right · 4 no answer"
)

app = typer.Typer(
    name="homeport",
    help="Your own cloud for AI agents: agents as HTTP endpoints, batch jobs, and policies that bind both.\n\n"
    "Start with `homeport up`, then `homeport deploy -d FOLDER`.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("up", system.up),
    ("down", system.down),
    ("status", system.status),
    ("env", system.env),
    ("doctor", system.doctor),
    ("host-setup", system.host_setup),
    ("deploy", deploy.deploy),
    ("apply", resources.apply),
    ("get", resources.get),
    ("delete", resources.delete),
    ("logs", logs.logs),
    ("explain", explain.explain),
    ("version", system.version),
)
for _name, _command in _COMMANDS:
    app.command(_name)(_command)
app.add_typer(running.app, name="run")
app.add_typer(executions.app, name="executions")
app.add_typer(secrets.app, name="secrets")


def run() -> None:
    """Run the command line; ends the process with the exit code."""
    from homeport.core.errors import HomeportError

    try:
        app()
    except HomeportError as error:
        sys.exit(_say(error))
    except BrokenPipeError:
        # The reader of our output, such as `head`, has enough. Python would complain about it again at its end.
        sys.stdout = None
        sys.exit(1)


def _say(error: Any) -> int:
    from homeport.core.errors import Denied, Invalid

    print(f"Error: {error.message}", file=sys.stderr)
    if error.hint:
        print(error.hint, file=sys.stderr)
    if isinstance(error, Invalid):
        return 2
    if isinstance(error, Denied):
        return 3
    return 4 if error.reason == "Unreachable" else 1
