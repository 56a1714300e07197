"""`homeport logs`: what programs and builds wrote."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.completing import complete_execution, complete_name, complete_workload_kind
from homeport.cli.moments import read_moment
from homeport.cli.options import Data, Lines, Output, Workspace, connect, parse_kind
from homeport.cli.output import emit_line, note
from homeport.core.errors import Invalid
from homeport.core.ids import WORKLOADS, Kind

if TYPE_CHECKING:
    from homeport.client.http import LogQuery


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
    until: Annotated[str | None, typer.Option(help="The same; only lines before.")] = None,
    revision: Annotated[str | None, typer.Option(help="Only what this revision wrote.")] = None,
    replica: Annotated[str | None, typer.Option(help="Only what this replica wrote.")] = None,
    severity: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Such as ERROR or WARNING,ERROR,FATAL.")
    ] = None,
    grep: Annotated[str | None, typer.Option(metavar="TEXT", help="Only lines that hold this text.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Lines = Output.TEXT,
) -> None:
    """Print the output of an agent, a function, a job or a build.

    Oldest lines first, each with who wrote it: its revision and replica, or its task. What ended replicas and tasks
    wrote is there for as long as it is kept. With --follow across restarts and new revisions.

    \b
    Examples:
      homeport logs agent hello-agent -f --tail 20
      homeport logs agent hello-agent --build
      homeport logs agent hello-agent --severity ERROR,FATAL --since 1d
      homeport logs job word-count exec-abc 7
      homeport logs job word-count --since 10m
    """
    chosen = parse_kind(kind, WORKLOADS)
    execution, task = execution or execution_, task or task_
    if chosen.serves and (execution or task):
        raise Invalid("EXECUTION", "is a job's; other workloads have none", value=execution or task)
    if task and not execution:
        raise Invalid("--task", "needs the execution, too", value=task)
    if follow and until:
        raise Invalid("--until", "does not go with --follow", value=until)
    query = query_of(build=build, execution=execution, task=task, follow=follow, tail=tail, since=since)
    narrowed = replace(
        query,
        until=read_moment("--until", until) if until else None,
        revision=revision,
        replica=replica,
        severity=severity,
        text=grep,
    )
    print_logs(chosen, name, narrowed, data=data, workspace=workspace, output=output)


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
        since=read_moment("--since", since) if since else None,
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
    if query.narrowed:
        return f"{kind} {name} has written nothing that these options select."
    if query.since:
        return f"{kind} {name} has written nothing since then."
    if query.source == "build":
        return f"There is no build output of {kind} {name}."
    hint = f" Its build: `homeport logs {kind} {name} --build`." if query.execution is None else ""
    return f"{kind} {name} has written nothing.{hint}"


def _print(line: dict[str, Any], output: Output) -> None:
    if output is not Output.TEXT:
        emit_line(line, output)
        return
    replica = line.get("replica")
    who = f"{line.get('revision')} {replica}" if replica else line.get("task")
    clock = str(line.get("time", ""))[11:23]
    print(f"{clock} {f'[{who}] ' if who is not None else ''}{line.get('text', '')}", flush=True)
