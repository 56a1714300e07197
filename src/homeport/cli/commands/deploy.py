"""`homeport deploy`: pack a folder and upload it, or name a repository; follow the build and the start."""

from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.completing import complete_policy
from homeport.cli.options import Data, Format, Output, Workspace
from homeport.cli.output import emit, note, note_secrets, warn
from homeport.core.fields import MASK
from homeport.core.ids import Kind

if TYPE_CHECKING:
    from homeport.cli.manifest import Order
    from homeport.client import Homeport
    from homeport.client.archive import Archive
    from homeport.client.http import Applied

_TRIED = {Kind.AGENT: "-d '{}'", Kind.FUNCTION: ""}
_NAMES_SHOWN = 20


def deploy(
    directory: Annotated[Path, typer.Option("-d", "--directory", help="The folder with the program.")] = Path("."),
    name: Annotated[str | None, typer.Option(help="Default: `name` in blaxel.toml, else the folder's name.")] = None,
    type_: Annotated[
        str | None,
        typer.Option("-t", "--type", help="agent, function or job. Default: `type` in blaxel.toml, else agent."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("-p", "--policy", help="Attach a policy; repeatable.", autocompletion=complete_policy),
    ] = None,
    environment: Annotated[
        list[str] | None, typer.Option("-e", "--env", metavar="K=V", help="A variable for the program; repeatable.")
    ] = None,
    env_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Variables that nobody is shown again, such as .env; repeatable."),
    ] = None,
    docker_config: Annotated[
        Path | None,
        typer.Option("--docker-config", metavar="FILE", help="Logins of registries, as Docker's config.json has them."),
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option(metavar="URL[#REF]", help="A git repository instead of a folder; its newest commit, or REF's."),
    ] = None,
    secret: Annotated[str | None, typer.Option(help="The stored secret that opens the repository.")] = None,
    traffic: Annotated[
        int | None,
        typer.Option(
            "--traffic",
            "--canary",
            min=0,
            max=100,
            metavar="N",
            help="So many percent of the requests for the new revision; the others stay where they are. 0: none yet.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dryrun", "--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it, or return once it is uploaded.")] = True,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Deploy a folder or a git repository, and follow it.

    It becomes an agent, a function (an MCP server) or a job. Files that .blaxelignore names are left out. Variables:
    `[env]` in blaxel.toml, then --env-file, then --env, the later wins. Ctrl-C stops following; the deployment goes on.
    Without --traffic the new revision serves, unless a newer one than what serves is kept already (`homeport rollout`).

    \b
    Examples:
      homeport deploy -d examples/hello-agent
      homeport deploy -d ./batch --type job --name nightly -e STAGE=test
      homeport deploy --policy eu-only --env-file .env --dryrun
      homeport deploy -d ./agent --traffic 10
      homeport deploy --repository https://example.com/agent#main --secret token
    """
    from homeport.cli.manifest import Flags, read_order, read_repository_order
    from homeport.cli.options import connect
    from homeport.cli.variables import read_docker_config, read_files, read_words

    flags = Flags(
        name=name,
        kind=type_,
        policies=tuple(policy or ()),
        variables=read_words(environment or [], "--env"),
        secrets=read_files(env_file or []),
        docker_config=read_docker_config(docker_config, "--docker-config") if docker_config else "",
        traffic=traffic,
    )
    order = read_repository_order(repository, secret, flags) if repository else read_order(directory, flags)
    for text in order.warnings:
        warn(text)
    packed = not repository and not order.image
    with closing(_packed(directory, hinted=not env_file)) if packed else nullcontext() as archive:
        if dry_run:
            _show(order, archive, output)
            return
        with connect(data, workspace) as client:
            deployed = _deploy(client, order, archive, wait=wait)
    if output is not Output.TEXT:
        emit(deployed, output)


def _deploy(client: "Homeport", order: "Order", archive: "Archive | None", *, wait: bool) -> dict[str, Any]:
    if order.workspace and order.workspace != client.workspace:
        warn(f"blaxel.toml names workspace {order.workspace}; this goes to {client.workspace}. -w chooses another.")
    applied = client.apply(order.kind, order.resource, upload=archive is not None)
    for warning in applied.warnings:
        warn(warning)
    note_secrets(applied.callback_secrets)
    _upload(client, applied, archive)
    if wait:
        return _follow(client, order, applied)
    note(f"{order.kind} {order.name} is accepted. See `homeport get {order.kind} {order.name} --watch`.")
    return client.get(order.kind, order.name)


def _packed(directory: Path, *, hinted: bool) -> "Archive":
    from homeport.client.archive import pack

    archive = pack(directory)
    for skipped in archive.skipped:
        warn(f"not packed: {skipped}.")
    if hinted and ".env" in archive.ignored:
        note("The variables in .env are not sent; `--env-file .env` sends them.")
    if ".env" in archive.names:
        warn(".env is packed, and readable for whoever can read the source. List it in .blaxelignore.")
    return archive


def _upload(client: "Homeport", applied: "Applied", archive: "Archive | None") -> None:
    from homeport.cli.progress import human_size, upload_progress

    if archive is None or not applied.upload_url:
        return
    note(f"uploading {archive.files} files, {human_size(archive.size)}, digest {archive.digest[:12]}")
    try:
        with upload_progress(archive.size) as sent:
            client.upload(applied.upload_url, archive, sent)
    except KeyboardInterrupt:
        note("\nThe upload was not finished, so nothing changes. Deploy again when you like.")
        raise


def _follow(client: "Homeport", order: "Order", applied: "Applied") -> dict[str, Any]:
    from homeport.cli.following import Follower

    kind, name = order.kind, order.name
    follower = Follower(client, kind, name, since=applied.resource.get("metadata", {}).get("updatedAt"))
    try:
        deployed = follower.follow()
    except KeyboardInterrupt:
        note(f"\nNot followed any more; the deployment of {kind} {name} goes on.")
        note(f"See `homeport get {kind} {name}` and `homeport logs {kind} {name} --build -f`.")
        raise
    if follower.failure is not None:
        note(f"Error: {kind} {name} was not deployed: {follower.failure}")
        note(f"Its output: `homeport logs {kind} {name}` and `homeport logs {kind} {name} --build`.")
        raise typer.Exit(1)
    _celebrate(client, order, deployed)
    return deployed


def _celebrate(client: "Homeport", order: "Order", deployed: dict[str, Any]) -> None:
    kind, name = order.kind, order.name
    events = deployed.get("events") or ()
    newest = next((one.get("revision") for one in reversed(events) if one.get("reason") == "Accepted"), None)
    reasons = {one.get("reason") for one in events if one.get("revision") == newest}
    shared = any(one.get("reason") == "Serving" and newest and one.get("canaryRevision") == newest for one in events)
    if deployed.get("status") == "BUILT" or "NotServed" in reasons:
        note(f"{name}: revision {newest} is built and kept, and does not serve.")
        note(f"To let it serve: homeport rollout promote {kind}/{name} --to {newest}")
        return
    if shared:
        unit = "requests" if kind.serves else "executions"
        share = order.resource["spec"].get("revision", {}).get("traffic")
        note(f"{name}: revision {newest} is the canary and gets {share} % of the {unit}.")
        note(f"Then: homeport rollout promote {kind}/{name}, or homeport rollout abort {kind}/{name}")
    if kind.serves:
        note(f"{name} serves at {client.address(kind, name, 'mcp' if kind is Kind.FUNCTION else '')}")
        note(f"Try: homeport run {kind} {name} {_TRIED[kind]}".rstrip())
    else:
        note(f"{name} is ready. Try: homeport run job {name} --data '[{{}}]'")


def _show(order: "Order", archive: "Archive | None", output: Output) -> None:
    """What would be sent; values of secrets are masked."""
    runtime = order.resource["spec"]["runtime"]
    shown = {**runtime, "envs": [{**env, "value": MASK} if env.get("secret") else env for env in runtime["envs"]]}
    if runtime.get("dockerConfig"):
        shown["dockerConfig"] = MASK
    spec = {**order.resource["spec"], "runtime": shown}
    resource = {**order.resource, "spec": spec}
    if output is not Output.TEXT:
        emit({"kind": order.kind.value, "resource": resource, "archive": _described(archive)}, output)
        return
    print(f"{order.kind} {order.name} would be deployed:")
    emit(resource, Output.YAML)
    if archive is not None:
        from homeport.cli.progress import human_size

        print(f"{archive.files} files, {human_size(archive.size)} packed, digest {archive.digest[:12]}:")
        for path in archive.names[:_NAMES_SHOWN]:
            print(f"  {path}")
        if archive.files > _NAMES_SHOWN:
            print(f"  and {archive.files - _NAMES_SHOWN} more (`-o json` names them)")
        if archive.ignored:
            print(f"left out: {', '.join(archive.ignored)}")
    note("Nothing was sent. Policies decide when it is: `homeport explain` shows how about what is deployed.")


def _described(archive: "Archive | None") -> dict[str, Any] | None:
    if archive is None:
        return None
    return {
        "bytes": archive.size,
        "digest": archive.digest,
        "files": list(archive.names),
        "ignored": list(archive.ignored),
        "skipped": list(archive.skipped),
    }
