"""Commands about stored secrets: set, list, delete.

A value comes from a file, from standard input or from a prompt that shows nothing; never from the command's words,
which other users and the shell's history see.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import age, note, tell, tell_all
from homeport.core.errors import Denied, Invalid, NotFound

app = typer.Typer(no_args_is_help=True, help="Store credentials for builds, such as a repository's token.")

_RESEALING_S = 600.0  # some ten thousand rows a second, and bodies of calls
_Files = Annotated[
    list[str] | None,
    typer.Option("--from-file", metavar="[KEY=]FILE", help="Read the value here; with KEY=, one of several parts."),
]
_Host = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST[:PORT]", help="Send it to this host only, as it stands in the address."),
]


@app.command("set")
def set_secret(
    name: Annotated[str, typer.Argument(help="Its name.")],
    extra: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    from_file: _Files = None,
    host: _Host = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Store or replace a secret.

    Without --from-file the value is read from standard input. Without --host whoever may deploy may have it sent to any
    host that they name.

    \b
    Examples:
      homeport secrets set git-token --host github.com < token.txt
      homeport secrets set deploy-key --from-file ~/.ssh/id_ed25519
      homeport secrets set login --from-file user=u.txt --from-file password=p.txt
    """
    if extra:
        rule = "takes no value among its words: the shell's history keeps them, and other users may see them"
        hint = "Send it on standard input or with --from-file, and change this secret: it has been seen."
        raise Invalid("homeport secrets set", rule, hint=hint)
    body = _from_files(from_file) if from_file else {"value": typed_value(f"Value of {name}: ")}
    if host is not None:
        body["host"] = host
    with connect(data, workspace) as client:
        stored = client.put_secret(name, body)
    tell(f"secret {name} stored", stored, output)


@app.command("list")
def list_secrets(data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """List the stored secrets by name. Values are never shown.

    \b
    Example:
      homeport secrets list
    """
    with connect(data, workspace) as client:
        found = [*client.list_secrets()]
    columns = ("NAME", "AGE", "UPDATED", "BY")
    tell_all(found, output, none="There are no secrets yet.", columns=columns, row=_row)


@app.command("delete")
def delete_secret(
    name: Annotated[str, typer.Argument(help="Which one.")],
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Delete a secret, in use or not.

    Builds that need it fail from then on.

    \b
    Example:
      homeport secrets delete git-token
    """
    with connect(data, workspace) as client:
        gone = client.delete_secret(name)
    tell(f"secret {name} deleted", gone, output)


@app.command("rotate-key")
def rotate_key(data: Data = None, output: Format = Output.TEXT) -> None:
    """Seal with a new key, and all that is stored anew.

    Nothing stops meanwhile. The older key stays until the next start, which lets it go. Where Homeport does not run,
    the next start does all of it; for that the command must be given on the machine with the data directory.

    \b
    Example:
      homeport secrets rotate-key
    """
    from homeport.client.errors import Unreachable

    try:
        with connect(data, None, answer_s=_RESEALING_S) as client:
            done = client.rotate_sealing_key()
    except Unreachable:
        _rotate_here(data)
        return
    rows = done.get("rows")
    tell(f"sealing key {done.get('id')} is the first now; {rows} rows are sealed anew with it", done, output)
    note("Back up DATA/keys with the database. The older key goes with the next start.")


def _rotate_here(data: Path | None) -> None:
    from homeport.sealing.keys import SealingKeys
    from homeport.settings import DataDir, default_data

    path = DataDir((data or default_data()).absolute()).sealing_key
    try:
        keys = SealingKeys.load(path)
        if keys is None:
            raise NotFound(f"There is no sealing key at {path}.", hint="The first `homeport up` makes it.")
        rotated = keys.rotate(path)
    except PermissionError as error:
        raise Denied(f"{path} is not yours to change.", hint="Run this as the user that Homeport runs as.") from error
    print(f"sealing key {rotated.first} is the first now; {', '.join(keys.ids)} stays for what it sealed")
    note("The next start seals everything with it and lets the older one go. Back up DATA/keys then.")


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    return item.get("name"), age(item.get("createdAt")), age(item.get("updatedAt")), item.get("updatedBy", "-")


def _from_files(given: list[str]) -> dict[str, Any]:
    if len(given) == 1 and ("=" not in given[0] or Path(given[0]).exists()):
        return {"value": _value(_read(given[0]), given[0])}
    parts: dict[str, str] = {}
    for word in given:
        key, equals, path = word.partition("=")
        if not equals or not key or not path:
            raise Invalid("--from-file", "must be KEY=FILE where there is more than one", value=word)
        parts[key] = _value(_read(path), path)
    return {"data": parts}


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise Invalid("--from-file", f"cannot be read ({why})", value=path) from error


def typed_value(prompt: str) -> str:
    """What is typed at `prompt`, unseen, or comes in by standard input."""
    if sys.stdin.isatty():
        import getpass

        return _value(getpass.getpass(prompt), "the prompt")
    try:
        return _value(sys.stdin.buffer.read().decode("utf-8"), "standard input")
    except UnicodeDecodeError as error:
        raise Invalid("standard input", "must be UTF-8 text") from error


def _value(text: str, source: str) -> str:
    """One line loses its ending, which editors add and tokens do not have; several lines, such as a key, stay."""
    line = text.removesuffix("\n").removesuffix("\r")
    value = text if "\n" in line else line
    if not value:
        raise Invalid(source, "is empty")
    return value
