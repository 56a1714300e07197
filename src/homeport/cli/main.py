"""The entry point `homeport`: registers the commands and turns errors into sentences and exit codes."""

import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from homeport.cli.commands import (
    accounts,
    applying,
    deleting,
    deploy,
    dev,
    events,
    executions,
    explain,
    getting,
    invocations,
    keys,
    load,
    login,
    logs,
    policies,
    registry,
    rollout,
    running,
    secrets,
    service,
    system,
)
from homeport.cli.errors import DEBUG, EXIT_CODES, FAILED, INTERRUPTED, say, say_unforeseen
from homeport.core.errors import HomeportError

app = typer.Typer(
    name="homeport",
    help="Your own cloud for AI agents: agents as HTTP endpoints, MCP servers, batch jobs, and policies that bind "
    "them.\n\n"
    "Start with `homeport up`, then `homeport deploy -d FOLDER`. `homeport COMMAND --help` shows examples.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("up", system.up),
    ("down", system.down),
    ("login", login.login),
    ("logout", login.logout),
    ("status", system.status),
    ("env", system.env),
    ("doctor", system.doctor),
    ("gc", system.gc),
    ("host-setup", system.host_setup),
    ("dev", dev.dev),
    ("deploy", deploy.deploy),
    ("apply", applying.apply),
    ("get", getting.get),
    ("delete", deleting.delete),
    ("logs", logs.logs),
    ("events", events.events),
    ("explain", explain.explain),
    ("load", load.load),
    ("version", system.version),
)
for _name, _command in _COMMANDS:
    app.command(_name)(_command)
app.add_typer(running.app, name="run")
app.add_typer(rollout.app, name="rollout")
app.add_typer(executions.app, name="executions")
app.add_typer(invocations.app, name="invocations")
app.add_typer(accounts.app, name="accounts")
app.add_typer(keys.app, name="keys")
app.add_typer(secrets.app, name="secrets")
app.add_typer(registry.app, name="registry")
app.add_typer(policies.app, name="policies")
app.add_typer(service.app, name="service")


class Command(TyperCommand):
    """A command whose help says what to write (`--policy POLICY`), not which of Python's types it becomes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            chosen = getattr(param, "is_flag", False) or isinstance(param.default, Enum)
            if param.metavar is None and not chosen:
                param.metavar = (param.name or "").strip("_").upper()


for _group in (app, *(known.typer_instance for known in app.registered_groups)):
    for _registered in _group.registered_commands if _group else ():
        _registered.cls = Command


def _print_version(wanted: bool) -> None:
    if wanted:
        from homeport import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an unexpected error comes from.")] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ[DEBUG] = "1"


def run() -> None:
    """Run the command line; ends the process with the exit code."""
    try:
        app(prog_name="homeport")
    except HomeportError as error:
        sys.exit(say(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has enough. Python would complain about it again at its end.
        sys.stdout = None
        sys.exit(FAILED)
    except Exception as error:  # the last resort: whatever it is, a person gets a sentence
        sys.exit(say_unforeseen(error))
