"""Commands about the registry logins of a workspace: login, list, logout.

A password comes from standard input or from a prompt that shows nothing; never from the command's words, which other
users and the shell's history see.
"""

import sys
from typing import Annotated, Any

import typer

from homeport.cli.commands.secrets import typed_value
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import age, tell, tell_all
from homeport.core.errors import Invalid
from homeport.core.logins import registry_host

app = typer.Typer(no_args_is_help=True, help="Keep logins for private registries, for the images of a workspace.")

_Registry = Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="The registry; Docker's hub is docker.io.")]


@app.command("login")
def login(
    registry: _Registry,
    username: Annotated[str, typer.Option("-u", "--username", help="The user.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password, or a token, from standard input.")
    ] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Store or replace the login for a registry.

    Every image of the workspace that is pulled from there uses it, unless the order or the upload brings its own. The
    registry is asked at the next pull, not now.

    \b
    Examples:
      homeport registry login ghcr.io -u ada --password-stdin < token.txt
      homeport registry login 10.0.0.7:5000 -u ada
    """
    if not password_stdin and not sys.stdin.isatty():
        raise Invalid("--password-stdin", "must be given where there is no terminal to ask at")
    registry = _host(registry)
    password = typed_value(f"Password of {username} at {registry}: ")
    with connect(data, workspace) as client:
        stored = client.put_registry_login(registry, {"username": username, "password": password})
    tell(f"login for {stored['registry']} stored", stored, output)


@app.command("list")
def list_logins(data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """List the logins. Passwords are never shown.

    \b
    Example:
      homeport registry list
    """
    with connect(data, workspace) as client:
        found = [*client.list_registry_logins()]
    columns = ("REGISTRY", "USER", "AGE", "UPDATED", "BY")
    tell_all(found, output, none="There are no logins yet.", columns=columns, row=_row)


@app.command("logout")
def logout(registry: _Registry, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """Forget the login for a registry, in use or not.

    Pulls that need it fail from then on.

    \b
    Example:
      homeport registry logout ghcr.io
    """
    with connect(data, workspace) as client:
        gone = client.delete_registry_login(_host(registry))
    tell(f"login for {gone['registry']} deleted", gone, output)


def _host(text: str) -> str:
    """The plain name of a registry, which may be written as an address: a path would be none of the API's."""
    host = registry_host(text)
    if host is None:
        raise Invalid("HOST[:PORT]", "must be a registry such as ghcr.io or 10.0.0.7:5000", value=text)
    return host


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    dates = age(item.get("createdAt")), age(item.get("updatedAt"))
    return item.get("registry"), item.get("username"), *dates, item.get("updatedBy", "-")
