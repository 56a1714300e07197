"""`homeport logs`: what programs and builds wrote."""

from typing import Annotated, Any

import typer

from homeport.cli.options import WORKLOADS, Data, Output, Workspace, connect, parse_kind


def logs(
    kind: Annotated[str, typer.Argument(help="agent or job.")],
    name: Annotated[str, typer.Argument(help="Which one.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
    build: Annotated[bool, typer.Option("--build", help="The build's output instead of the program's.")] = False,
    execution: Annotated[str | None, typer.Option(help="Only this execution of a job.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task, by its number.")] = None,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last so many lines.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="text, or json for one object a line.")
    ] = Output.TEXT,
) -> None:
    """Print the output of an agent, a job or a build, oldest first.

    \b
    Examples:
      homeport logs agent hello-agent -f
      homeport logs agent hello-agent --build
      homeport logs job word-count --execution exec-abc --task 7
    """
    from homeport.client.http import LogQuery

    chosen = parse_kind(kind, WORKLOADS)
    source = "build" if build else "run"
    query = LogQuery(source=source, follow=follow, execution=execution, task=_number(task), tail=tail)
    with connect(data, workspace) as client:
        try:
            for line in client.logs(chosen, name, query):
                _print(line, output)
        except KeyboardInterrupt:
            raise typer.Exit(0 if follow else 130) from None


def _print(line: dict[str, Any], output: Output) -> None:
    import json

    if output is not Output.TEXT:
        print(json.dumps(line, ensure_ascii=False), flush=True)
        return
    who = line.get("replica") or line.get("task")
    clock = str(line.get("time", ""))[11:23]
    print(f"{clock} {f'[{who}] ' if who is not None else ''}{line.get('text', '')}", flush=True)


def _number(task: str | None) -> str | None:
    """`task-7`, the name in lists, means the task number 7."""
    return None if task is None else task.removeprefix("task-")
