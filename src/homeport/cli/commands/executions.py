"""`homeport executions`: what a job's executions did and do."""

from typing import Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import age, emit, note, table

app = typer.Typer(help="Look at a job's executions and their tasks, or cancel one.", no_args_is_help=True)

Job = Annotated[str, typer.Argument(help="The job's name.")]
ExecutionName = Annotated[str, typer.Argument(help="The execution's id.")]


@app.command("list")
def list_executions(job: Job, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """List a job's executions, newest first.

    \b
    Example:
      homeport executions list word-count
    """
    with connect(data, workspace) as client:
        found = [*client.list_executions(job)]
    if output is not Output.TEXT:
        emit(found, output)
    elif not found:
        note(f"Job {job} has no executions yet.")
    else:
        rows = [(_id(item), item.get("status"), counts(item), age(_created(item))) for item in found]
        table(("EXECUTION", "STATUS", "TASKS", "AGE"), rows)


@app.command("get")
def get_execution(
    job: Job, execution: ExecutionName, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Show one execution.

    \b
    Example:
      homeport executions get word-count exec-abc
    """
    with connect(data, workspace) as client:
        found = client.get_execution(job, execution)
    if output is not Output.TEXT:
        emit(found, output)
    else:
        print(f"{_id(found)}  {found.get('status')}  {counts(found)}  {age(_created(found))} ago")


@app.command("tasks")
def list_tasks(
    job: Job, execution: ExecutionName, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """List an execution's tasks, all pages of them.

    \b
    Example:
      homeport executions tasks word-count exec-abc
    """
    with connect(data, workspace) as client:
        found = [*client.list_tasks(job, execution)]
    if output is not Output.TEXT:
        emit(found, output)
    else:
        table(("TASK", "STATUS", "SAYS"), [_task_row(item) for item in found])


@app.command("logs")
def execution_logs(
    job: Job,
    execution: ExecutionName,
    task: Annotated[str | None, typer.Option(help="Only this task, by its number.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="text, or json for one object a line.")
    ] = Output.TEXT,
) -> None:
    """Print what an execution's tasks wrote.

    \b
    Example:
      homeport executions logs word-count exec-abc --task 7
    """
    from homeport.cli.commands.logs import logs

    logs("job", job, follow=follow, build=False, execution=execution, task=task, tail=None,
         data=data, workspace=workspace, output=output)  # fmt: skip


@app.command("cancel")
def cancel_execution(job: Job, execution: ExecutionName, data: Data = None, workspace: Workspace = None) -> None:
    """Cancel an execution: nothing new starts, running tasks finish.

    \b
    Example:
      homeport executions cancel word-count exec-abc
    """
    with connect(data, workspace) as client:
        client.cancel_execution(job, execution)
    print(f"{execution} is being cancelled")


def counts(execution: dict[str, Any]) -> str:
    """An execution's tasks in words."""
    stats = execution.get("stats") or {}
    words = [f"{stats.get('success', 0)}/{stats.get('total', 0)} succeeded"]
    for key, word in (
        ("running", "running"),
        ("failure", "failed"),
        ("cancelled", "cancelled"),
        ("retried", "retried"),
    ):
        if stats.get(key):
            words.append(f"{stats[key]} {word}")
    return ", ".join(words)


def _task_row(task: dict[str, Any]) -> tuple[object, ...]:
    said = [condition.get("message") or condition.get("reason") for condition in task.get("conditions") or ()]
    last = next((text for text in reversed(said) if text), "")
    return task.get("metadata", {}).get("name", "-"), task.get("status", "-"), last


def _id(execution: dict[str, Any]) -> str:
    return str(execution.get("metadata", {}).get("id", "-"))


def _created(execution: dict[str, Any]) -> object:
    return execution.get("metadata", {}).get("createdAt")
