"""`homeport logs`: what programs and builds wrote."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.completing import complete_execution, complete_name, complete_workload_kind
from homeport.cli.options import Data, Lines, Output, Workspace, connect, parse_kind
from homeport.cli.output import note
from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.errors import Invalid
from homeport.core.ids import WORKLOADS, Kind

if TYPE_CHECKING:
    from homeport.client.http import LogQuery

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def logs(
    kind: Annotated[str, typer.Argument(help="agent, function or job.", autocompletion=complete_workload_kind)],
    name: Annotated[str, typer.Argument(help="Which one.", autocompletion=complete_name)],
    execution_: Annotated[
        str | None,
        typer.Argument(metavar="EXECUTION", help="Only this execution of a job.", autocompletion=complete_execution),
    ] = None,
    task_: Annotated[str | None, typer.Argument(metavar="TASK", help="Only this task, by its number.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
    build: Annotated[bool, typer.Option("--build", help="The build's output instead of the program's.")] = False,
    execution: Annotated[str | None, typer.Option(help="The same as EXECUTION.")] = None,
    task: Annotated[str | None, typer.Option(help="The same as TASK.")] = None,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last so many lines.")] = None,
    since: Annotated[str | None, typer.Option(help="Such as 10m, 2h or 2026-01-31T08:00:00Z.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Lines = Output.TEXT,
) -> None:
    """Print the output of an agent, a job or a build.

    Of a job, all or one execution, all or one task; oldest lines first.

    \b
    Examples:
      homeport logs agent hello-agent -f --tail 20
      homeport logs agent hello-agent --build
      homeport logs job word-count exec-abc 7
      homeport logs job word-count --since 10m
    """
    chosen = parse_kind(kind, WORKLOADS)
    execution, task = execution or execution_, task or task_
    if chosen.serves and (execution or task):
        raise Invalid("EXECUTION", "is a job's; agents have none", value=execution or task)
    if task and not execution:
        raise Invalid("--task", "needs the execution, too", value=task)
    query = query_of(build=build, execution=execution, task=task, follow=follow, tail=tail, since=since)
    print_logs(chosen, name, query, data=data, workspace=workspace, output=output)


def query_of(
    *,
    follow: bool,
    tail: int | None,
    since: str | None,
    build: bool = False,
    execution: str | None = None,
    task: str | None = None,
) -> "LogQuery":
    """The options of the commands about logs, understood. Raises `Invalid`."""
    from homeport.client.http import LogQuery

    number = None if task is None else task.removeprefix("task-")  # as lists call it
    if number is not None and not (number.isascii() and number.isdigit()):
        raise Invalid("TASK", "must be a number such as 7, or task-7", value=task)
    return LogQuery(
        source="build" if build else "run",
        follow=follow,
        execution=execution,
        task=number,
        tail=tail,
        since=_moment(since) if since else None,
    )


def print_logs(
    kind: Kind, name: str, query: "LogQuery", *, data: Path | None, workspace: str | None, output: Output
) -> None:
    with connect(data, workspace) as client:
        silent = True
        for line in client.logs(kind, name, query):
            silent = False
            _print(line, output)
        if silent:
            note(_nothing(kind, name, query))


def _nothing(kind: Kind, name: str, query: "LogQuery") -> str:
    if query.since:
        return f"{kind} {name} has written nothing since then."
    if query.source == "build":
        return f"There is no build output of {kind} {name}."
    hint = f" Its build: `homeport logs {kind} {name} --build`." if query.execution is None else ""
    return f"{kind} {name} has written nothing.{hint}"


def _print(line: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps(line, ensure_ascii=False), flush=True)
        return
    if output is Output.YAML:
        # JSON is YAML; one document a line can be read while more come.
        print(f"--- {json.dumps(line, ensure_ascii=False)}", flush=True)
        return
    who = line.get("replica") or line.get("task")
    clock = str(line.get("time", ""))[11:23]
    print(f"{clock} {f'[{who}] ' if who is not None else ''}{line.get('text', '')}", flush=True)


def _moment(text: str) -> str:
    """A duration before now, or a moment, as RFC 3339."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    try:
        if found is not None:
            return timestamp(SystemClock().now() - timedelta(seconds=int(found[1]) * _SECONDS[found[2]]))
        return timestamp(parse_timestamp(text.strip()))
    except (ValueError, OverflowError) as exc:
        rule = "must be a duration such as 10m, 2h or 1d, or a time with its zone such as 2026-01-31T08:00:00Z"
        raise Invalid("--since", rule, value=text) from exc
