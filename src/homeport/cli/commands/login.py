"""`homeport login` and `logout`: which installation the commands talk to where no local one is meant."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli.options import Format, Output
from homeport.cli.output import emit, note, table
from homeport.core.errors import Invalid, NotFound, Unauthenticated

_KEY_BYTES = 64 * 1024  # no key is longer; a wrong file is noticed early


def login(
    place: Annotated[
        str | None, typer.Argument(metavar="URL|NAME", help="The address, or a name that you have logged in to.")
    ] = None,
    workspace: Annotated[str | None, typer.Option("-w", "--workspace", help="Default: `default`.")] = None,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="Where the key is; - for standard input.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call it; default: host and port.")] = None,
    output: Format = Output.TEXT,
) -> None:
    """Remember an installation elsewhere, with its key.

    Both are checked against it. Commands use it unless --data, BL_API_URL or HOMEPORT_DATA say otherwise. The key comes
    from --api-key-file, from a pipe, or from a prompt that does not show it; never from the command line, which other
    users can read. Without an argument, the known installations are listed.

    \b
    Examples:
      homeport login https://homeport.example.com --workspace default
      homeport login http://10.0.0.7:8080 --name lab --api-key-file lab.key
      homeport login lab
      homeport login
    """
    from homeport.client.logins import Login, read_logins, write_logins
    from homeport.client.transport import checked_url

    logins = read_logins()
    if place is None:
        _list(logins, output)
        return
    if "://" in place:
        url = checked_url(place.rstrip("/").removesuffix("/v0"))
        known = next((entry for entry in logins.known.values() if entry.url == url), None)
        key = _read_key(api_key_file, url)
        chosen = Login(url=url, key=key, workspace=workspace or (known.workspace if known else "default"))
        called = name or url.partition("://")[2]
    else:
        if place not in logins.known:
            raise NotFound(f"You have not logged in to {place!r}.", hint=_hint(logins))
        known = logins.known[place]
        key = _read_key(api_key_file, known.url) if api_key_file else known.key
        chosen = Login(url=known.url, key=key, workspace=workspace or known.workspace)
        called = name or place
    _verify(chosen)
    write_logins(logins.with_login(called, chosen))
    _say(called, chosen, output)


def logout(
    name: Annotated[str | None, typer.Argument(help="Default: the current one.")] = None,
    output: Format = Output.TEXT,
) -> None:
    """Forget an installation that you have logged in to.

    Its key is forgotten, too, but goes on working: `homeport keys revoke` ends it.

    \b
    Examples:
      homeport logout
      homeport logout lab
    """
    from homeport.client.logins import read_logins, write_logins

    logins = read_logins()
    called = name or logins.current
    if called not in logins.known:
        what = f"You have not logged in to {called!r}." if called else "You are not logged in anywhere."
        raise NotFound(what, hint=_hint(logins))
    write_logins(logins.without(called))
    if output is Output.TEXT:
        print(f"logged out of {called}")
    else:
        emit({"name": called}, output)


def _verify(chosen: Any) -> None:
    """Raise what the installation has against the key or the workspace."""
    from homeport.cli.progress import patience
    from homeport.client import Homeport

    hint = "Is that the address, and can this machine reach it?"
    with (
        patience(f"asking {chosen.url}"),
        Homeport(chosen.url, chosen.key, chosen.workspace, start_hint=hint) as client,
    ):
        try:
            client.get_workspace(chosen.workspace)
        except (Unauthenticated, NotFound) as error:
            advice = "Nothing was stored. An administrator makes keys with `homeport keys create`."
            raise type(error)(error.message, hint=advice) from error


def _read_key(file: Path | None, url: str) -> str:
    if file is not None and str(file) != "-":
        try:
            with file.open() as stream:
                key = stream.read(_KEY_BYTES).strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
            raise Invalid("--api-key-file", f"cannot be read: {reason}", value=str(file)) from exc
    elif file is None and sys.stdin.isatty():
        import getpass

        key = getpass.getpass(f"API key for {url}: ").strip()
    else:
        key = sys.stdin.read(_KEY_BYTES).strip()
    if not key:
        raise Invalid("API key", "is needed", hint="Give it by --api-key-file FILE, or pipe it in.")
    return key


def _say(name: str, chosen: Any, output: Output) -> None:
    if output is not Output.TEXT:
        emit({"name": name, "url": chosen.url, "workspace": chosen.workspace}, output)
        return
    print(f"logged in to {name}: {chosen.url}, workspace {chosen.workspace}")
    note("Commands go there from now on; `homeport logout` forgets it.")


def _list(logins: Any, output: Output) -> None:
    if output is not Output.TEXT:
        rows = logins.known.items()
        emit(
            [
                {"name": name, "url": entry.url, "workspace": entry.workspace, "current": name == logins.current}
                for name, entry in rows
            ],
            output,
        )
    elif not logins.known:
        note("You are not logged in anywhere. `homeport login URL` remembers an installation.")
    else:
        rows = [
            (name, entry.url, entry.workspace, "*" if name == logins.current else "")
            for name, entry in logins.known.items()
        ]
        table(("NAME", "URL", "WORKSPACE", "CURRENT"), rows)


def _hint(logins: Any) -> str:
    return f"Known are {', '.join(sorted(logins.known))}." if logins.known else "Log in with `homeport login URL`."
