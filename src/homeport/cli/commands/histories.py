"""`homeport executions verify` and `history`: what happened to an execution, and whether that may be."""

from typing import Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note, printable, state

Execution = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.")]


def verify_execution(
    execution: Execution, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Check an execution's history against what is stored.

    It may still run. Exit code 1 when a rule is broken, such as a task that ran twice.

    \b
    Example:
      homeport executions verify exec-abc
    """
    with connect(data, workspace) as client:
        answer = client.verify_execution(execution)
    if output is Output.TEXT:
        _print_verification(answer)
    else:
        emit(answer, output)
    if not answer.get("valid"):
        raise typer.Exit(1)


def show_history(
    execution: Execution, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Show what happened to an execution, oldest first.

    \b
    Example:
      homeport executions history exec-abc
    """
    with connect(data, workspace) as client:
        entries = client.execution_history(execution)
        if output is not Output.TEXT:
            emit({"data": [*entries]}, output)
            return
        for entry in entries:
            print(printable(f"{entry.get('seq', 0):>6}  {entry.get('time')}  {_words(entry)}"))


def _print_verification(answer: dict[str, Any]) -> None:
    print(f"execution {answer.get('execution')} of job {answer.get('job')}: {state(answer.get('status'))}")
    if not answer.get("complete"):
        note("It began before the log or has none: only what is stored could be checked.")
    for label, value in (
        ("terminal", f"{answer.get('terminal')} of {answer.get('tasks')} tasks"),
        ("lost", f"{answer.get('lost')} attempts"),
        ("run twice", f"{answer.get('runTwice')} tasks"),
        ("most at once", f"{answer.get('mostAtOnce')} of {answer.get('parallelism')} allowed"),
        ("starts", f"{answer.get('starts')}; retried {answer.get('retries')}, interrupted {answer.get('interrupted')}"),
        ("events read", answer.get("entries")),
    ):
        print(f"  {label:<13} {value}")
    violations, violated = answer.get("violations") or (), int(answer.get("violated") or 0)
    print(f"  {'violations':<13} {violated or 'none'}")
    for found in violations:
        where = f" (event {found['seq']})" if found.get("seq") else ""
        print(printable(f"    {found.get('rule')}: {found.get('message')}{where}"))
    if violated > len(violations):
        print(f"    … and {violated - len(violations)} more")


def _words(entry: dict[str, Any]) -> str:
    """One entry as a line for people."""
    kind, attempt = entry.get("kind"), f"task {entry.get('task')} attempt {entry.get('attempt')}"
    sentences = {
        "before": "the execution is older than this log",
        "accepted": f"accepted with {entry.get('tasks')} tasks",
        "claimed": f"{attempt} is to start",
        "started": f"{attempt} runs",
        "ended": f"{attempt} {_ending(entry)}",
        "status": f"the execution is {entry.get('status')}",
        "cancelled": f"{entry.get('tasks')} waiting tasks are cancelled",
        "stop-asked": f"what runs is to be stopped, and killed after {entry.get('graceSeconds')} s",
    }
    return sentences.get(str(kind), str(kind))


def _ending(entry: dict[str, Any]) -> str:
    words = str(entry.get("ended")).replace("_", " ")
    if entry.get("signal"):
        words += f" ({entry['signal']})"
    elif entry.get("exitCode"):
        words += f" (exit code {entry['exitCode']})"
    again = f", again from {entry['notBefore']}" if entry.get("notBefore") else ""
    return f"{words}; the task is {entry.get('taskStatus')}{again}"
