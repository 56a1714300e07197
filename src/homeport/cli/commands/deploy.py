"""`homeport deploy`: pack a folder, upload it, follow the build and the start."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace
from homeport.core.ids import Kind

if TYPE_CHECKING:
    from homeport.cli.following import Follower
    from homeport.client import Homeport


def deploy(
    directory: Annotated[Path, typer.Option("-d", "--directory", help="The folder with the program.")] = Path("."),
    name: Annotated[str | None, typer.Option(help="Default: `name` in blaxel.toml, else the folder's name.")] = None,
    type_: Annotated[
        str | None, typer.Option("-t", "--type", help="agent or job. Default: `type` in blaxel.toml, else agent.")
    ] = None,
    policy: Annotated[list[str] | None, typer.Option("-p", "--policy", help="Attach a policy; repeatable.")] = None,
    environment: Annotated[
        list[str] | None, typer.Option("-e", "--env", metavar="K=V", help="A variable for the program; repeatable.")
    ] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Deploy a folder as an agent or a job, and follow it.

    Ctrl-C stops following; the deployment goes on.

    \b
    Examples:
      homeport deploy -d examples/hello-agent
      homeport deploy -d ./batch --type job --name nightly -e STAGE=test
      homeport deploy --policy eu-only
    """
    from homeport.cli.following import Follower
    from homeport.cli.manifest import workload
    from homeport.cli.options import connect
    from homeport.cli.output import emit, note, warn
    from homeport.client.archive import pack

    kind, resource = workload(directory, name=name, kind=type_, policies=policy, environment=environment or [])
    chosen = resource["metadata"]["name"]
    with connect(data, workspace) as client:
        archive = pack(directory)
        for skipped in archive.skipped:
            note(f"not packed: {skipped}")
        applied = client.apply(kind, resource, upload=True)
        for ignored in applied.ignored:
            warn(str(ignored))
        note(f"uploading {archive.files} files, {_size(archive.size)}, digest {archive.digest[:12]}")
        follower = Follower(client, kind, chosen, since=applied.resource.get("metadata", {}).get("updatedAt"))
        try:
            with archive.file:
                if applied.upload_url:
                    client.upload(applied.upload_url, archive)
            deployed = follower.follow()
        except KeyboardInterrupt:
            _detached(kind, chosen)
            raise typer.Exit(130) from None
        _finish(client, kind, chosen, follower)
        if output is not Output.TEXT:
            emit(deployed, output)


def _detached(kind: Kind, name: str) -> None:
    from homeport.cli.output import note

    note(f"\nNot followed any more; the deployment of {kind} {name} goes on.")
    note(f"See `homeport get {kind.plural} {name}` and `homeport logs {kind} {name} --build -f`.")


def _finish(client: "Homeport", kind: Kind, name: str, follower: "Follower") -> None:
    from homeport.cli.output import note

    if follower.failure is not None:
        note(f"Error: {kind} {name} was not deployed: {follower.failure}")
        note(f"Its output: `homeport logs {kind} {name}` and `homeport logs {kind} {name} --build`.")
        raise typer.Exit(1)
    if kind is Kind.AGENT:
        note(f"{name} serves at {client.agent_url(name)}")
        note(f"Try: homeport run agent {name} -d '{{}}'")
    else:
        note(f"{name} is ready. Try: homeport run job {name} --data '[{{}}]'")


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{max(1, size // 1024)} KB"


def describe(event: dict[str, Any]) -> str:
    """One event of a deployment in a line."""
    return f"{event.get('status', '')}: {event.get('message', '')}".strip(": ")
