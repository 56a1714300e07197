"""`homeport rollout`: which revision serves which share, and the ways forward and back."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.completing import complete_revision, complete_rollout, complete_workload_kind
from homeport.cli.options import Data, Format, Output, Workspace, connect, parse_kind
from homeport.cli.output import age, emit, note, state, table
from homeport.core.errors import Invalid
from homeport.core.ids import WORKLOADS, Kind
from homeport.workloads.states import SETTLED, WorkloadStatus

if TYPE_CHECKING:
    from homeport.client import Homeport

_INTERVAL_S = 0.3  # between two looks: soon enough for people, little work for the server
app = typer.Typer(
    help="Share requests between two revisions, promote one, or go back.\n\n"
    "A change of what runs makes a revision; the last five are kept. `homeport deploy --traffic 10` gives the new one "
    "a tenth of the requests: it is the canary, until it is promoted, or aborted. Nothing here builds anything, and no "
    "request is dropped.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="NAME, or KIND/NAME.", autocompletion=complete_rollout)]
OfKind = Annotated[
    str | None,
    typer.Option("--kind", help="agent, function or job. Default: agent.", autocompletion=complete_workload_kind),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="REVISION", help="Another one of `history`.", autocompletion=complete_revision),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Until it holds, or return at once.")]


@app.command("status")
def status(
    name: Name,
    kind: OfKind = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing is under way.")] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Show who serves which share, and what is under way.

    Exit code 1 when the last order came to nothing, such as for a program that does not start; what served before
    serves on then.

    \b
    Examples:
      homeport rollout status hello-agent
      homeport rollout status job/word-count --wait -o json
    """
    chosen, name = _parse(name, kind)
    with connect(data, workspace) as client:
        found = _settled(client, chosen, name) if wait else client.rollout(chosen, name)
    _print(found, output)
    if _came_to_nothing(found):
        raise typer.Exit(1)


@app.command("history")
def history(
    name: Name,
    kind: OfKind = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """List the revisions that are kept, newest first.

    \b
    Examples:
      homeport rollout history hello-agent
      homeport rollout history function/text-tools -o json
    """
    chosen, name = _parse(name, kind)
    with connect(data, workspace) as client:
        revisions = client.revisions(chosen, name)
    if output is not Output.TEXT:
        emit(revisions, output)
        return
    rows = [
        (one["id"], one["status"], f"{one['trafficPercent']} %", _part(one), age(one["createdAt"]), one["createdBy"])
        for one in revisions
    ]
    table(("REVISION", "STATUS", "TRAFFIC", "PART", "AGE", "BY"), rows)


@app.command("promote")
def promote(
    name: Name,
    kind: OfKind = None,
    to: To = None,
    percent: Annotated[
        int, typer.Option(min=0, max=100, metavar="N", help="So many percent; 100 makes it the active one.")
    ] = 100,
    wait: Wait = True,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Give the canary all requests, or N percent of them.

    Without a canary it is the newest revision that is kept and does not serve.

    \b
    Examples:
      homeport rollout promote hello-agent --percent 50
      homeport rollout promote hello-agent
    """
    body: dict[str, Any] = {"percent": percent, **({"revision": to} if to else {})}
    with connect(data, workspace) as client:
        _order(client, _parse(name, kind), "promote", body, wait=wait, output=output)


@app.command("undo")
def undo(
    name: Name,
    kind: OfKind = None,
    to: To = None,
    wait: Wait = True,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Let the revision serve again that was active before.

    It is started beside what serves and takes over once it answers; nothing is built. The next deployment is built and
    kept then, until `deploy --traffic` or `promote` lets it serve.

    \b
    Examples:
      homeport rollout undo hello-agent
      homeport rollout undo hello-agent --to REVISION
    """
    with connect(data, workspace) as client:
        _order(client, _parse(name, kind), "undo", {"revision": to} if to else {}, wait=wait, output=output)


@app.command("abort")
def abort(
    name: Name,
    kind: OfKind = None,
    wait: Wait = True,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """End the canary or a rollout under way.

    The active revision serves on with all requests.

    \b
    Example:
      homeport rollout abort hello-agent
    """
    with connect(data, workspace) as client:
        _order(client, _parse(name, kind), "abort", {}, wait=wait, output=output)


def _parse(name: str, kind: str | None) -> tuple[Kind, str]:
    """The kind and the name that NAME and --kind mean together."""
    before, slash, after = name.partition("/")
    if not slash:
        return parse_kind(kind or Kind.AGENT, WORKLOADS), name
    named = parse_kind(before, WORKLOADS)
    if kind is not None and parse_kind(kind, WORKLOADS) is not named:
        raise Invalid("--kind", f"contradicts {name}", value=kind)
    return named, after


def _order(
    client: "Homeport", of: tuple[Kind, str], verb: str, body: dict[str, Any], *, wait: bool, output: Output
) -> None:
    kind, name = of
    found = client.order_rollout(kind, name, verb, body)
    try:
        found = _settled(client, kind, name) if wait else found
    except KeyboardInterrupt:
        note(f"\nNot watched any more; it goes on. See `homeport rollout status {kind}/{name}`.")
        raise
    _print(found, output)
    if wait and _came_to_nothing(found):
        note(f"Error: {verb} of {kind} {name} came to nothing: {found.get('failure') or found.get('status')}")
        raise typer.Exit(1)


def _settled(client: "Homeport", kind: Kind, name: str) -> dict[str, Any]:
    """How it stands once nothing is under way. The server bounds every step of a rollout, so this ends."""
    while True:
        found = client.rollout(kind, name)
        if found.get("status") in SETTLED and not found.get("wanted"):
            return found
        time.sleep(_INTERVAL_S)


def _came_to_nothing(found: dict[str, Any]) -> bool:
    return bool(found.get("failed")) or found.get("status") in (WorkloadStatus.FAILED, WorkloadStatus.DEACTIVATED)


def _print(found: dict[str, Any], output: Output) -> None:
    if output is not Output.TEXT:
        emit(found, output)
        return
    print(f"{found['kind']} {found['name']}: {state(found['status'])}")
    served = found.get("served") or {}
    if not served.get("active"):
        print("  nothing serves")
    else:
        print(f"  {_shares(served)}")
    if wanted := found.get("wanted"):
        states = {one["id"]: one["status"] for one in found.get("revisions") or ()}
        coming = [one for one in (wanted.get("active"), wanted.get("canary")) if one and one not in served.values()]
        print(f"  under way: {_shares(wanted)}")
        for one in coming:
            print(f"    {one} is {states.get(one, 'gone')}")
    if failed := found.get("failed"):
        print(f"  the last order came to nothing: revision {failed}: {found.get('failure')}")


def _shares(split: dict[str, Any]) -> str:
    active, canary, percent = split.get("active"), split.get("canary"), int(split.get("canaryPercent") or 0)
    if not canary:
        return f"{active or 'nothing'} 100 %"
    return f"{active} {100 - percent} %, canary {canary} {percent} %"


def _part(revision: dict[str, Any]) -> str:
    parts = (("active", "active"), ("canary", "canary"), ("previousActive", "active before"))
    return next((words for key, words in parts if revision.get(key)), "-")
