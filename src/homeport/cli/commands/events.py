"""`homeport events`: what happened to agents, functions, jobs and whatever else there is."""

from typing import Annotated, Any

import typer

from homeport.cli.completing import complete_kind, complete_name
from homeport.cli.moments import read_moment
from homeport.cli.options import Data, Lines, Output, Workspace, connect, parse_kind
from homeport.cli.output import emit_line, note, printable, state
from homeport.core.errors import Invalid


def events(
    kind: Annotated[
        str | None, typer.Argument(help="Only of this kind; or KIND/NAME.", autocompletion=complete_kind)
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Only of this one.", autocompletion=complete_name)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with new events until Ctrl-C.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only with this reason, such as BuildFailed.")] = None,
    revision: Annotated[str | None, typer.Option(help="Only of this revision.")] = None,
    since: Annotated[str | None, typer.Option(help="Such as 10m, 2h or 2026-01-31T08:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="The same; only events before.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    data: Data = None,
    workspace: Workspace = None,
    output: Lines = Output.TEXT,
) -> None:
    """Show what happened, oldest first.

    Of each resource the newest 100 events are kept, for as long as it is there.

    \b
    Examples:
      homeport events
      homeport events agent hello-agent --since 1h
      homeport events agent/hello-agent --reason BuildFailed
      homeport events --watch -o json
    """
    if kind is not None and name is None and "/" in kind:
        kind, _, name = kind.partition("/")
    asked = {
        "kind": parse_kind(kind).value if kind else None,
        "name": name,
        "reason": reason,
        "revision": revision,
        "since": read_moment("--since", since) if since else None,
        "until": read_moment("--until", until) if until else None,
    }
    narrowed = {key: value for key, value in asked.items() if value}
    if watch and until:
        raise Invalid("--until", "does not go with --watch", value=until)
    with connect(data, workspace) as client:
        silent = True
        # What is there is shown first: who watches wants to know where things stand.
        last = 0
        for one in client.events(narrowed, limit):
            silent, last = False, int(one.get("number", 0))
            _print(one, output)
        if watch:
            for one in client.watch_events(narrowed, after=last):
                _print(one, output)
        elif silent:
            note("Nothing has happened that these options select.")


def _print(event: dict[str, Any], output: Output) -> None:
    if output is not Output.TEXT:
        emit_line(event, output)
        return
    whose = f"{event.get('kind')}/{event.get('name')}"
    what = " ".join(str(event[key]) for key in ("reason", "revision") if event.get(key))
    line = f"{str(event.get('time', ''))[:19]}Z  {whose}  {state(event.get('status'))}  {what}: {event.get('message')}"
    print(printable(line), flush=True)
