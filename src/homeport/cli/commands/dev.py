"""`homeport dev`: a folder served as it changes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeport.cli.options import Data, Workspace, connect
from homeport.cli.output import note

if TYPE_CHECKING:
    from homeport.client import Homeport


def dev(
    folder: Annotated[Path, typer.Argument(help="The folder with the program.")] = Path("."),
    name: Annotated[str | None, typer.Option(help="As for `homeport deploy`; `-dev` is added to it.")] = None,
    type_: Annotated[str | None, typer.Option("-t", "--type", help="As for `homeport deploy`.")] = None,
    environment: Annotated[
        list[str] | None, typer.Option("-e", "--env", metavar="K=V", help="A variable for the program; repeatable.")
    ] = None,
    data: Data = None,
    workspace: Workspace = None,
) -> None:
    """Serve a folder, and each change of it at once.

    It runs as it will when it is deployed, at the address of NAME-dev, until Ctrl-C, which removes it. Where no
    Homeport runs, one is started for as long. Each change is deployed; one that does not build or start leaves the
    version before it serving. `[entrypoint] dev` in blaxel.toml is the command, if there is one; `.env` are variables.
    Files that git or .blaxelignore leave out change nothing.

    \b
    Examples:
      homeport dev
      homeport dev examples/hello-agent -e STAGE=test
    """
    from homeport.cli.developing import Session, Wanted
    from homeport.cli.manifest import Flags
    from homeport.cli.variables import read_words

    flags = Flags(name=name, kind=type_, variables=read_words(environment or [], "--env"))
    wanted = Wanted(folder=folder.resolve(), flags=flags)
    wanted.order()  # refused before anything is started
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    with _installation(data, workspace) as chosen:

        def client() -> "Homeport":
            return connect(chosen, workspace)

        with client() as first:
            try:
                Session(first, wanted, client).run()
            except KeyboardInterrupt:
                raise typer.Exit(0) from None


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _installation(data: Path | None, workspace: str | None) -> Iterator[Path | None]:
    """The data directory to use: that of whoever runs already, else of one that is started for as long."""
    from homeport.client.errors import Unreachable

    try:
        with connect(data, workspace) as client:
            client.status()
    except Unreachable as error:
        directory = _own_directory(data, error)
    else:
        yield data
        return
    if _runs(directory):  # another session's
        yield directory
        return
    note(f"No Homeport runs, so one is started for this session, with its data in {directory}.")
    words = [sys.executable, "-m", "homeport.supervise", "--data", str(directory)]
    if subprocess.run([*words, "--detach"], stdout=sys.stderr, check=False).returncode:
        raise typer.Exit(1)
    try:
        yield directory
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave it running
        from homeport.cli.commands.system import down

        down(data=directory, drain=0)


def _runs(directory: Path) -> bool:
    from homeport.settings import DataDir
    from homeport.supervise.state import read_state

    supervisor = read_state(DataDir(directory)).supervisor
    return supervisor is not None and supervisor.lives()


def _own_directory(data: Path | None, error: Exception) -> Path:
    """Where to start one. Not where somebody has stopped theirs, unless they named it: all that it served would come
    back with it. Raises `error` where another machine's is meant."""
    from homeport.client.logins import read_logins
    from homeport.settings import default_data

    if data is not None or os.environ.get("HOMEPORT_DATA"):
        return (data or default_data()).absolute()
    if os.environ.get("BL_API_URL") or read_logins().chosen is not None:
        raise error
    usual = default_data().absolute()
    return usual.with_name(f"{usual.name}-dev")
