"""`homeport run agent`, `function` and `job`: call a program through the gateway, or execute a job."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.completing import complete_agent, complete_function, complete_job
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note
from homeport.core.errors import HomeportError, Invalid
from homeport.core.ids import Kind

if TYPE_CHECKING:
    import httpx

    from homeport.client import Homeport

_MCP_VERSION = "2025-06-18"  # a server that speaks another one answers with its own
app = typer.Typer(help="Call an agent or a function, or run a job.", no_args_is_help=True)


@app.command("agent")
def run_agent(
    name: Annotated[str, typer.Argument(help="The agent's name.", autocompletion=complete_agent)],
    body: Annotated[
        str | None, typer.Option("-d", "--body", "--json", help="The request's body; @FILE reads a file.")
    ] = None,
    path: Annotated[str, typer.Option(help="The path below the agent's address.")] = "",
    method: Annotated[str | None, typer.Option(help="Default: POST with a body or without a path, else GET.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print what comes, as it comes.")] = False,
    data: Data = None,
    workspace: Workspace = None,
) -> None:
    """Call an agent through the gateway and print its answer.

    \b
    Examples:
      homeport run agent hello-agent -d '{"inputs": "Good morning"}'
      homeport run agent hello-agent --path stream --stream
    """
    call = _Call(kind=Kind.AGENT, name=name, path=path, method=verb_of(method, path, body), body=read_body(body))
    with connect(data, workspace) as client:
        _call(client, call, stream=stream)


@app.command("function")
def run_function(
    name: Annotated[str, typer.Argument(help="The function's name.", autocompletion=complete_function)],
    body: Annotated[
        str | None, typer.Option("-d", "--body", "--json", help="An MCP message; @FILE reads a file.")
    ] = None,
    path: Annotated[str, typer.Option(help="The path below the function's address.")] = "mcp",
    method: Annotated[str | None, typer.Option(help="Default: POST with a body, else GET.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print what comes, as it comes.")] = False,
    data: Data = None,
    workspace: Workspace = None,
) -> None:
    """Send one message to a function and print its answer.

    Without a message it asks the function who it is. It keeps no session: MCP clients take the address that
    `homeport get function NAME` shows, with /mcp behind it.

    \b
    Examples:
      homeport run function text-tools
      homeport run function text-tools --path healthz
    """
    if body is None and method is None and path.strip("/") == "mcp":
        body = _initialize()
    call = _Call(kind=Kind.FUNCTION, name=name, path=path, method=verb_of(method, path, body), body=read_body(body))
    with connect(data, workspace) as client:
        _call(client, call, stream=stream)


def _initialize() -> str:
    """The first message of an MCP client."""
    import json

    from homeport import __version__

    client = {"name": "homeport", "version": __version__}
    parameters = {"protocolVersion": _MCP_VERSION, "capabilities": {}, "clientInfo": client}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": parameters})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    kind: Kind
    name: str
    path: str
    method: str
    body: bytes


def _call(client: "Homeport", call: _Call, *, stream: bool) -> None:
    kind, name = call.kind, call.name
    try:
        with client.call(kind, name, path=call.path, method=call.method, body=call.body, stream=stream) as answer:
            if kind is Kind.FUNCTION and not stream and _has_events(answer):
                _print_messages(answer)
            else:
                _print_answer(answer, stream=stream)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except HomeportError as error:
        if error.reason == "Unreachable":
            raise
        # A refusal by the program is the program's word, not a policy's: exit code 1 whatever its status.
        address = client.address(kind, name, call.path)
        note(f"Error: {call.method} {address} failed ({error.status}): {error.for_caller()}")
        if error.status >= 500 or not error.hint:  # else the gateway refused: no program has seen the request
            note(f"Its output: `homeport logs {kind} {name}`.")
        raise typer.Exit(1) from error


@app.command("job")
def run_job(
    name: Annotated[str, typer.Argument(help="The job's name.", autocompletion=complete_job)],
    tasks: Annotated[
        str | None, typer.Option("-d", "--data", help="The tasks as JSON: a list, or an object with `tasks`.")
    ] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A file with the same.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Wait with live progress, or only start it.")] = True,
    data: Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="The data directory.")] = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Execute a job and watch its tasks.

    Exit code 1 when the execution does not succeed. Ctrl-C stops watching; the execution goes on. `--data` holds the
    tasks here, so the data directory is `--data-dir`.

    \b
    Examples:
      homeport run job word-count --file examples/word-count-job/tasks.json
      homeport run job nightly --data '[{"day": 1}, {"day": 2}]' --detach
    """
    body = _execution(tasks, file)
    with connect(data, workspace) as client:
        execution = str(client.create_execution(name, body).get("executionId", ""))
        note(f"execution {execution} of {name}: {len(body['tasks'])} tasks")
        if not wait:
            _print_started(name, execution, output)
            return
        from homeport.cli.watching import watch_execution

        try:
            ended = watch_execution(client, name, execution)
        except KeyboardInterrupt:
            note(f"\nNot watched any more; {execution} goes on. `homeport executions get {name} {execution}`")
            raise typer.Exit(130) from None
    _summarise(name, ended, output)


def _print_started(name: str, execution: str, output: Output) -> None:
    if output is Output.TEXT:
        print(execution)
        note(f"Look with `homeport executions get {name} {execution}`.")
    else:
        emit({"executionId": execution, "job": name}, output)


def _summarise(name: str, ended: dict[str, Any], output: Output) -> None:
    from homeport.cli.views import counts

    execution = ended.get("metadata", {}).get("id", "")
    if output is Output.TEXT:
        print(f"{execution} {ended.get('status')}: {counts(ended)}")
    else:
        emit(ended, output)
    if ended.get("status") != "succeeded":
        note(f"See `homeport executions tasks {name} {execution}` and `homeport executions logs {name} {execution}`.")
        raise typer.Exit(1)


def verb_of(method: str | None, path: str, body: str | None) -> str:
    """The method that `--method`, `--path` and `--body` mean together."""
    return (method or ("GET" if path and body is None else "POST")).upper()


def read_body(text: str | None) -> bytes:
    """The bytes that `--body` means: its own, or those of the file behind an @."""
    if text is None:
        return b""
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as exc:
        raise Invalid("-d", f"cannot be read: {exc.strerror}", value=text) from exc


def _execution(text: str | None, file: Path | None) -> dict[str, Any]:
    import json

    if text is not None and Path(text).is_dir():
        raise Invalid("--data", "holds the tasks here", value=text, hint="The data directory is --data-dir.")
    if (text is None) == (file is None):
        raise Invalid("--data or --file", "must be given, and not both")
    try:
        parsed = json.loads(file.read_text() if file is not None else text or "")
    except OSError as exc:
        raise Invalid("--file", f"cannot be read: {exc.strerror}", value=str(file)) from exc
    except ValueError as exc:
        raise Invalid("--file" if file else "--data", f"must be JSON: {exc}") from exc
    body = {"tasks": parsed} if isinstance(parsed, list) else parsed
    if not isinstance(body, dict) or not isinstance(body.get("tasks"), list):
        raise Invalid("--file" if file else "--data", 'must be a list of tasks or an object with "tasks"')
    return body


def _has_events(answer: "httpx.Response") -> bool:
    return str(answer.headers.get("content-type", "")).startswith("text/event-stream")


def _print_messages(answer: "httpx.Response") -> None:
    """The messages in a stream of events, one a line."""
    for line in answer.iter_lines():
        if line.startswith("data:") and (message := line.removeprefix("data:").strip()):
            print(message, flush=True)


def _print_answer(answer: "httpx.Response", *, stream: bool) -> None:
    import json
    import sys

    kind = answer.headers.get("content-type", "")
    if not stream and kind.startswith("application/json"):
        text = answer.read().decode("utf-8", "replace")
        try:
            print(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
        except ValueError:
            print(text)
        return
    # As bytes: what the program sends may be anything, and it is shown when it comes.
    for block in answer.iter_bytes():
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    if kind.startswith("text/") and sys.stdout.isatty():
        print()
