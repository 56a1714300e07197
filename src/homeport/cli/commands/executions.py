"""`homeport executions`: what a job's executions did and do."""

from pathlib import Path
from typing import Annotated

import typer

from homeport.cli.commands.histories import show_history, verify_execution
from homeport.cli.completing import complete_execution, complete_job
from homeport.cli.options import Data, Format, Lines, Output, Workspace, connect
from homeport.cli.output import emit, note
from homeport.cli.views import Wanted
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.limits import STOP_GRACE_S, STOP_GRACE_S_MAX
from homeport.jobs.states import ExecutionStatus

app = typer.Typer(help="Look at a job's executions and their tasks, or cancel one.", no_args_is_help=True)
app.command("verify")(verify_execution)
app.command("history")(show_history)

Job = Annotated[str, typer.Argument(help="The job's name.", autocompletion=complete_job)]
ExecutionName = Annotated[str, typer.Argument(help="The execution's id.", autocompletion=complete_execution)]


Status = Annotated[str, typer.Option(help="Only these statuses, with commas between.")]
Limit = Annotated[int | None, typer.Option(min=1, help="So many at most.")]


@app.command("list")
def list_executions(
    job: Job,
    status: Status = "",
    limit: Limit = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """List a job's executions, newest first.

    \b
    Examples:
      homeport executions list word-count
      homeport executions list word-count --status failed,timeout --limit 10
    """
    _show("executions", [job], Wanted(status=status, limit=limit), data, workspace, output)


@app.command("get")
def get_execution(
    job: Job, execution: ExecutionName, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Show one execution.

    \b
    Example:
      homeport executions get word-count exec-abc
    """
    _show("executions", [job, execution], Wanted(), data, workspace, output)


@app.command("tasks")
def list_tasks(
    job: Job,
    execution: ExecutionName,
    status: Status = "",
    limit: Limit = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """List an execution's tasks, all pages of them.

    \b
    Examples:
      homeport executions tasks word-count exec-abc
      homeport executions tasks word-count exec-abc --status failed
    """
    _show("tasks", [job, execution], Wanted(status=status, limit=limit), data, workspace, output)


@app.command("logs")
def execution_logs(
    job: Job,
    execution: ExecutionName,
    task: Annotated[str | None, typer.Option(help="Only this task, by its number.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until it ends.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last so many lines.")] = None,
    since: Annotated[str | None, typer.Option(help="Such as 10m, 2h or 2026-01-31T08:00:00Z.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Lines = Output.TEXT,
) -> None:
    """Print what an execution's tasks wrote.

    \b
    Examples:
      homeport executions logs word-count exec-abc --task 7
      homeport executions logs word-count exec-abc -f --tail 20
    """
    from homeport.cli.commands.logs import print_logs, query_of

    query = query_of(execution=execution, task=task, follow=follow, tail=tail, since=since)
    print_logs(Kind.JOB, job, query, data=data, workspace=workspace, output=output)


@app.command("cancel")
def cancel_execution(
    job: Job,
    execution: ExecutionName,
    now: Annotated[bool, typer.Option("--now", help="Stop running tasks, too; may follow a plain cancel.")] = False,
    grace: Annotated[
        int | None,
        typer.Option(min=0, max=STOP_GRACE_S_MAX, help=f"Seconds from SIGTERM to SIGKILL; default {STOP_GRACE_S}."),
    ] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Cancel an execution: nothing new starts, running tasks finish.

    With --now they are stopped, and killed if they are still there after the grace.

    \b
    Examples:
      homeport executions cancel word-count exec-abc
      homeport executions cancel word-count exec-abc --now --grace 30
    """
    if grace is not None and not now:
        raise Invalid("--grace", "goes with --now", value=grace)
    with connect(data, workspace) as client:
        found = client.cancel_execution(job, execution, now=now, grace_s=grace)
    if output is not Output.TEXT:
        emit(found, output)
        return
    status = ExecutionStatus(found["status"])
    if status is ExecutionStatus.CANCELLED or not status.terminal:
        print(f"{execution} is {'cancelled' if status.terminal else 'being cancelled'}")
    else:
        note(f"{execution} had ended before: {status}.")


def _show(
    kind: str, words: list[str], wanted: Wanted, data: Path | None, workspace: str | None, output: Output
) -> None:
    from homeport.cli.commands.getting import show

    show(kind, words, wanted, data=data, workspace=workspace, output=output)
