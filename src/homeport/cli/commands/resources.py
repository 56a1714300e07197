"""Commands about resources: apply, get, delete."""

from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace, connect, parse_kind
from homeport.cli.output import age, emit, note, table
from homeport.core.ids import Kind


def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="YAML or JSON with one or more resources; - for stdin.")],
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Create or update the policies, agents and jobs in a file, in its order.

    Stops at the first one that is refused; those before it stay applied.

    \b
    Examples:
      homeport apply -f examples/policies/eu-only.yaml
      cat *.yaml | homeport apply -f -
    """
    from homeport.cli.manifest import read_manifests

    manifests = read_manifests(file)
    done: list[dict[str, Any]] = []
    with connect(data, workspace) as client:
        for kind, resource in manifests:
            applied = client.apply(kind, resource)
            for ignored in applied.ignored:
                note(f"Warning: {kind} {resource['metadata']['name']}: {ignored}")
            action = "created" if applied.created else "configured"
            done.append({"kind": kind.value, "name": resource["metadata"]["name"], "action": action})
            if output is Output.TEXT:
                print(f"{kind} {resource['metadata']['name']} {action}", flush=True)
    if output is not Output.TEXT:
        emit(done, output)


def get(
    kind: Annotated[str, typer.Argument(help="policies, agents or jobs.")],
    name: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Show resources, all pages of them, or one with its latest events.

    \b
    Examples:
      homeport get agents
      homeport get job word-count -o yaml
    """
    chosen = parse_kind(kind)
    with connect(data, workspace) as client:
        found = [client.get(chosen, name)] if name else [*client.list_all(chosen)]
    if output is not Output.TEXT:
        emit(found[0] if name else found, output)
        return
    if not found:
        note(f"There are no {chosen.plural} yet.")
        return
    if chosen is Kind.POLICY:
        table(("NAME", "TYPE", "ALLOWS", "AGE"), [_policy_row(item) for item in found])
    else:
        table(("NAME", "STATUS", "POLICIES", "URL", "AGE"), [_workload_row(item) for item in found])
    if name:
        for event in (found[0].get("events") or ())[-10:]:
            print(f"  {age(event.get('time'))} ago  {event.get('status', '')}  {event.get('message', '')}")


def delete(
    kind: Annotated[str, typer.Argument(help="policy, agent or job.")],
    name: Annotated[str, typer.Argument(help="Which one.")],
    data: Data = None,
    workspace: Workspace = None,
) -> None:
    """Delete a resource and stop what it runs.

    \b
    Example:
      homeport delete agent hello-agent
    """
    chosen = parse_kind(kind)
    with connect(data, workspace) as client:
        client.delete(chosen, name)
    print(f"{chosen} {name} deleted")


def _policy_row(item: dict[str, Any]) -> tuple[object, ...]:
    metadata, spec = item.get("metadata", {}), item.get("spec", {})
    places = [f"{place.get('type')} {place.get('name')}" for place in spec.get("locations") or ()]
    flavors = [f"{flavor.get('type')} {flavor.get('name')}" for flavor in spec.get("flavors") or ()]
    tokens = [f"{key} {value}" for key, value in (spec.get("maxTokens") or {}).items()]
    allowed = ", ".join([*places, *flavors, *tokens]) or "-"
    return metadata.get("name"), spec.get("type", "-"), allowed, age(metadata.get("createdAt"))


def _workload_row(item: dict[str, Any]) -> tuple[object, ...]:
    metadata = item.get("metadata", {})
    policies = ", ".join(item.get("spec", {}).get("policies") or ()) or "-"
    url = metadata.get("url") or "-"
    return metadata.get("name"), item.get("status", "-"), policies, url, age(metadata.get("createdAt"))
