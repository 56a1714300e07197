"""`homeport invocations`: asynchronous calls of agents."""

from itertools import islice
from typing import Annotated, Any

import typer

from homeport.cli.completing import complete_agent, complete_invocation
from homeport.cli.moments import read_moment
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note, table, tell, tell_all

app = typer.Typer(
    help="Look at asynchronous calls of agents, make one again, or cancel one.\n\n"
    "A POST to an agent with `?async=true` is one, and answers at once; so is a call to a trigger of type http-async.",
    no_args_is_help=True,
)

Ident = Annotated[str, typer.Argument(help="The call's id.", autocompletion=complete_invocation)]
LIMIT = 50


@app.command("list")
def list_invocations(
    agent: Annotated[str | None, typer.Option(help="Only this agent's.", autocompletion=complete_agent)] = None,
    status: Annotated[
        str, typer.Option(help="Only these: queued, running, succeeded, failed, cancelled; commas between.")
    ] = "",
    since: Annotated[str, typer.Option(help="Accepted then or later: 10m, 2h or 1d ago, or a time.")] = "",
    until: Annotated[str, typer.Option(help="Accepted before that: the same.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = LIMIT,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """List asynchronous calls, newest first.

    \b
    Examples:
      homeport invocations list --agent my-agent
      homeport invocations list --status failed --since 1d
    """
    asked = {
        "agent": agent or "",
        "status": status,
        "since": read_moment("--since", since) if since else "",
        "until": read_moment("--until", until) if until else "",
    }
    query = {key: value for key, value in asked.items() if value} | {"limit": str(min(limit, 1000))}
    with connect(data, workspace) as client:
        found = [*islice(client.list_invocations(query), limit)]
    tell_all(
        found,
        output,
        none="No asynchronous calls. POST to /{workspace}/agents/{name}?async=true makes one.",
        columns=("ID", "AGENT", "STATUS", "ATTEMPTS", "ANSWER", "ACCEPTED", "MESSAGE"),
        row=_row,
    )


def _row(item: dict[str, Any]) -> list[object]:
    return [
        item["id"],
        item["agent"],
        item["status"],
        item["attempts"],
        item.get("responseStatus") or "",
        item["createdAt"][:19] + "Z",
        item.get("message") or "",
    ]


@app.command("get")
def get_invocation(
    invocation: Ident, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Show one call: its attempts, its callback, and the answer.

    \b
    Example:
      homeport invocations get inv-abc
    """
    with connect(data, workspace) as client:
        found = client.get_invocation(invocation)
    if output is not Output.TEXT:
        emit(found, output)
        return
    target = f"{found['method']} {found['path']} of agent {found['agent']}"
    print(f"{found['id']} is {found['status']}: {target}, accepted {found['createdAt']}")
    if found.get("message"):
        print(f"message: {found['message']}")
    if found.get("nextAttemptAt"):
        print(f"next attempt: {found['nextAttemptAt']}")
    if found.get("attemptList"):
        table(
            ("ATTEMPT", "END", "STATUS", "STARTED", "ENDED", "REASON"),
            [
                [
                    one["number"],
                    one["end"],
                    one.get("status") or "",
                    one["startedAt"],
                    one.get("endedAt") or "",
                    one.get("reason") or "",
                ]
                for one in found["attemptList"]
            ],
        )
    if callback := found.get("callback"):
        attempts = f", {callback['attempts']} attempts" if callback.get("attempts") else ""
        reason = f" ({callback['message']})" if callback.get("message") else ""
        print(f"callback: {callback['status']} to {callback['url']}{attempts}{reason}")
    if answer := found.get("response"):
        cut = f", the first {len(answer['body'])} shown" if answer["truncated"] else ""
        coded = " in base64" if answer["base64"] else ""
        print(f"answer: {answer['status']}, {answer['length']} bytes{cut}{coded}")
        print(answer["body"])


@app.command("replay")
def replay_invocation(
    invocation: Ident, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Make a call that has ended again, as a new one.

    \b
    Example:
      homeport invocations replay inv-abc
    """
    with connect(data, workspace) as client:
        found = client.replay_invocation(invocation)
    tell(f"{found['id']} makes the call {invocation} again", found, output)


@app.command("cancel")
def cancel_invocation(
    invocation: Ident, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Cancel a call.

    One that waits ends at once, one under way is cut off within seconds.

    \b
    Example:
      homeport invocations cancel inv-abc
    """
    with connect(data, workspace) as client:
        found = client.cancel_invocation(invocation)
    if output is not Output.TEXT:
        emit(found, output)
    elif found["status"] == "cancelled":
        print(f"{invocation} is cancelled")
    elif found["status"] == "running":
        print(f"{invocation} is being cancelled")
    else:
        note(f"{invocation} had ended before: {found['status']}.")


@app.command("rotate-secret")
def rotate_callback_secret(
    agent: Annotated[str, typer.Argument(help="The agent's name.", autocompletion=complete_agent)],
    trigger: Annotated[str | None, typer.Option(help="The trigger's id, where several have a callback URL.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Make a new secret for callbacks, and print it this once.

    Results of calls that were accepted before are still signed with the one before.

    \b
    Example:
      homeport invocations rotate-secret my-agent
    """
    with connect(data, workspace) as client:
        found = client.rotate_callback_secret(agent, trigger)
    if output is Output.TEXT:
        note(f"The new secret of the trigger {found['trigger']}; nothing shows it again:")
    tell(str(found["callbackSecret"]), found, output)
