"""`homeport delete`: remove resources and wait until they are gone."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeport.cli.completing import complete_kind, complete_name
from homeport.cli.options import Data, Format, Output, Workspace, connect, parse_kind
from homeport.cli.output import note, tell
from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import Kind

if TYPE_CHECKING:
    from homeport.cli.documents import Document
    from homeport.client import Homeport

_INTERVAL_S = 0.2  # between two looks whether it is gone
_SLOW_S = 5.0  # a program ends sooner, unless it uses the whole grace; then it is said where to look
_IMAGES = (Kind.IMAGE.value, Kind.IMAGE.plural)
_LOST = {
    Kind.VOLUME: "all that is in it",
    Kind.AGENT: "its revisions and its output",
    Kind.FUNCTION: "its revisions and its output",
    Kind.JOB: "its executions, their results and their output",
}


def delete(
    kind: Annotated[
        str | None, typer.Argument(help="policy, volume, agent, function, job or image.", autocompletion=complete_kind)
    ] = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which ones.", autocompletion=complete_name)
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="What the manifests in it name; as for `apply`.")
    ] = None,
    recursive: Annotated[bool, typer.Option("-R", "--recursive", help="Read the folders in a directory, too.")] = False,
    unused: Annotated[bool, typer.Option("--unused", help="Of images: all that nothing uses.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they are gone.")] = True,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Delete resources and stop what they run.

    On a terminal it asks first where something is lost with it: volumes and all that runs. Ctrl-C stops waiting; the
    deletion goes on.

    \b
    Examples:
      homeport delete agent hello-agent
      homeport delete policies eu-only gpu-only
      homeport delete image agent/hello-agent:3f2a9c41d07b
      homeport delete images --unused
      homeport delete -f manifests --yes --no-wait
    """
    from homeport.cli.commands.applying import Results

    if unused:
        _delete_unused(kind, names or [], file or [], data, workspace, output)
        return
    documents = _documents(kind, names or [], file or [], recursive)
    results = Results(output)
    with connect(data, workspace) as client:
        if not yes:
            _confirm(client, documents)
        for document in documents:
            results.attempt(document, lambda known=document: _delete(client, known, wait=wait))
    results.finish()


def _documents(kind: str | None, names: list[str], files: list[Path], recursive: bool) -> list["Document"]:
    from homeport.cli.documents import Document, read_documents
    from homeport.cli.views import image_name

    if files and kind is not None:
        raise Invalid("-f", "and KIND NAME exclude each other")
    if files:
        # Backwards: policies and volumes last, when what they bind and what has them is gone.
        return read_documents(files, recursive=recursive, given={})[::-1]
    if kind is None or not names:
        raise Invalid("KIND and NAME, or -f", "must be given", hint="Such as `homeport delete agent hello-agent`.")
    if kind.lower() in _IMAGES:
        chosen, names = Kind.IMAGE, [image_name(name) for name in names]
    else:
        chosen = parse_kind(kind)
    return [
        Document(kind=chosen, written=chosen.value, name=name, resource={}, where="") for name in dict.fromkeys(names)
    ]


def _delete_unused(
    kind: str | None, names: list[str], files: list[Path], data: Path | None, workspace: str | None, output: Output
) -> None:
    if kind is None or kind.lower() not in _IMAGES or names or files:
        raise Invalid("--unused", "goes with images alone", hint="`homeport delete images --unused`")
    with connect(data, workspace) as client:
        done = client.delete_unused_images()
    tell(str(done.get("message")), done, output)


def _confirm(client: "Homeport", documents: list["Document"]) -> None:
    """Ask a person, and nobody else: a script has said what it means. What is not there loses nothing."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    losing = [(one.kind, one.name) for one in documents if one.kind in _LOST and _is_there(client, one.kind, one.name)]
    if not losing:
        return
    for kind, name in losing:
        note(f"{kind} {name} goes with {_LOST[kind]}.")
    print("Delete? [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        note("Nothing was deleted.")
        raise typer.Exit(1)


def _is_there(client: "Homeport", kind: Kind, name: str) -> bool:
    try:
        client.get(kind, name)
    except NotFound:
        return False
    return True


def _delete(client: "Homeport", document: "Document", *, wait: bool) -> str:
    from homeport.cli.commands.applying import not_served

    if document.kind is None:
        raise not_served(document)
    if document.kind is Kind.IMAGE:
        client.delete_image(document.name)
        return "deleted"
    client.delete(document.kind, document.name)
    if document.kind is Kind.POLICY:
        return "deleted"
    return _wait(client, document.kind, document.name) if wait else "is being deleted"


def _wait(client: "Homeport", kind: Kind, name: str) -> str:
    """Wait until it is gone. The server bounds every step of a deletion, but waits for an engine that is away."""
    from homeport.cli.progress import progress

    slow_at: float | None = time.monotonic() + _SLOW_S
    try:
        with progress(f"deleting {kind} {name}") as shown:
            while True:
                client.get(kind, name)
                if slow_at is not None and time.monotonic() > slow_at:
                    shown.say(
                        f"{kind} {name} is still there; `homeport get {kind} {name}` and `homeport status` say why."
                    )
                    slow_at = None
                time.sleep(_INTERVAL_S)
    except NotFound:
        return "deleted"
    except KeyboardInterrupt:
        note(f"\nNot waited for any more; the deletion of {kind} {name} goes on.")
        raise
