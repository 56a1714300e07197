"""`homeport get`: show what there is."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.completing import complete_get_kind, complete_get_words
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import age, emit, note, table_lines
from homeport.cli.views import Found, View, Wanted, check_filters, find_view

if TYPE_CHECKING:
    from homeport.client import Homeport

_WATCH_INTERVAL_S = 2.0  # the public command line's
_EVENTS_SHOWN = 10


def get(
    kind: Annotated[
        str,
        typer.Argument(
            help="agents, functions, jobs, policies, volumes, revisions, executions, tasks, images, locations, "
            "workspaces, accounts, keys or configuration.",
            autocompletion=complete_get_kind,
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Only this one; the job of executions; KIND/NAME of revisions and images.",
            autocompletion=complete_get_words,
        ),
    ] = None,
    q: Annotated[str, typer.Option("-q", "--query", help="Only what has this in its name or labels.")] = "",
    status: Annotated[str, typer.Option(help="Only these statuses, with commas between.")] = "",
    sort: Annotated[str, typer.Option(help="createdAt:desc, createdAt:asc, name:asc or name:desc.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="So many at most.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All pages; that is the default.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look every 2 seconds until Ctrl-C.")] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Show resources, or one of them with its latest events.

    All pages are read unless --limit is given.

    \b
    Examples:
      homeport get agents
      homeport get job word-count -o yaml
      homeport get agents --status failed --sort name:asc
      homeport get revisions agent/hello-agent
      homeport get executions word-count --limit 5 --watch
    """
    wanted = Wanted(q=q, sort=sort, status=status, limit=None if every else limit)
    show(kind, words or [], wanted, watch=watch, data=data, workspace=workspace, output=output)


def show(
    kind: str,
    words: Sequence[str],
    wanted: Wanted,
    *,
    data: Path | None,
    workspace: str | None,
    output: Output,
    watch: bool = False,
) -> None:
    """What `get KIND WORDS` prints, for the commands that are another way to say it."""
    view, rest = find_view(kind, words)
    wanted = replace(wanted, words=rest)
    check_filters(view, wanted)
    with connect(data, workspace) as client:
        if watch:
            _watch(client, view, wanted, output)
        else:
            _show(view, wanted, view.read(client, wanted), output)


def _show(view: View, wanted: Wanted, found: Found, output: Output) -> None:
    if output is not Output.TEXT:
        emit(found.items[0] if found.one else found.items, output)
    elif not found.items:
        note(_none(view, wanted))
    else:
        for line in _lines(view, found):
            print(line)
    if found.total is not None:
        note(f"{len(found.items)} of {found.total} {view.spellings[0]} are shown; without --limit all are.")


def _none(view: View, wanted: Wanted) -> str:
    return f"There are no {view.spellings[0]}{' that match' if wanted.q or wanted.status else ''}."


def _lines(view: View, found: Found) -> list[str]:
    lines = table_lines(view.columns, [view.row(item) for item in found.items])
    if found.addresses is not None:
        lines += ["", *_address_lines(found.addresses)]
    if found.one and (events := (found.items[0].get("events") or ())[-_EVENTS_SHOWN:]):
        rows = [(age(event.get("time")), event.get("status", ""), event.get("message", "")) for event in events]
        lines += ["", *table_lines(("AGO", "STATUS", "EVENT"), rows)]
    return lines


def _address_lines(found: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            one.get("url"),
            "anybody" if one.get("public") else "with a key",
            "at once" if one.get("asynchronous") else "-",
            one.get("trigger") or "-",
        )
        for one in found.get("data") or ()
    ]
    lines = table_lines(("ADDRESS", "CALLED BY", "ANSWERED", "TRIGGER"), rows)
    return [*lines, str(note)] if (note := found.get("note")) else lines


def _watch(client: "Homeport", view: View, wanted: Wanted, output: Output) -> None:
    """On a terminal the same place is drawn again; elsewhere what changed is printed."""
    if sys.stdout.isatty() and output is Output.TEXT:
        _watch_terminal(client, view, wanted)
        return
    last: object = None
    while True:
        found = view.read(client, wanted)
        if found.items != last:
            last = found.items
            _show(view, wanted, found, output)
            sys.stdout.flush()
        time.sleep(_WATCH_INTERVAL_S)


def _watch_terminal(client: "Homeport", view: View, wanted: Wanted) -> None:
    from rich.live import Live
    from rich.text import Text

    from homeport.cli.progress import hold_terminal

    with hold_terminal(), Live(auto_refresh=False) as live:
        while True:
            found = view.read(client, wanted)
            lines = _lines(view, found) if found.items else [_none(view, wanted)]
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)
            time.sleep(_WATCH_INTERVAL_S)
