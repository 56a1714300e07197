"""`homeport policies`: what a change of a policy would do, before it is made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli.completing import complete_policy
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note, printable, state, table
from homeport.core.errors import Invalid
from homeport.core.ids import Kind

app = typer.Typer(help="Try a change of a policy before it is made.", no_args_is_help=True)

_LISTS = (("refused", "refused"), ("allowed", "allowed again"), ("moved", "moved"))


@app.command("dry-run")
def dry_run_policies(
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="Policies as they would be made or changed; - is stdin.")
    ] = None,
    delete: Annotated[
        list[str] | None, typer.Option("--delete", help="A policy to delete.", autocompletion=complete_policy)
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="As if every workload named it: for a policy that nobody uses yet.")
    ] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Show which workloads a change of policies would refuse or allow.

    Each policy is tried by itself, and nothing is stored. Exit code 3 when a workload that is allowed now would be
    refused.

    \b
    Examples:
      homeport policies dry-run -f examples/policies/eu-only.yaml --attach
      homeport policies dry-run --delete eu-only
    """
    changes = [*_changes_in(file or [], attach), *({"name": name, "delete": True} for name in delete or ())]
    if not changes:
        raise Invalid("-f or --delete", "is required")
    with connect(data, workspace) as client:
        results = [client.dry_run_policy(change) for change in changes]
    if output is not Output.TEXT:
        emit(results[0] if len(results) == 1 else results, output)
    else:
        for result in results:
            _print(result)
    if any(result.get("outcome") == "refuses" for result in results):
        raise typer.Exit(3)


def _changes_in(paths: list[Path], attach: bool) -> Iterator[dict[str, Any]]:
    from homeport.cli.documents import read_documents

    for document in read_documents(paths, recursive=False, given={}) if paths else ():
        if document.kind is not Kind.POLICY:
            note(f"{document.where}: a {document.written} is no policy and is left out.")
            continue
        yield {**document.resource, **({"attach": True} if attach else {})}


def _print(result: dict[str, Any]) -> None:
    counts = f"{result.get('refusedTotal')} refused, {result.get('allowedTotal')} allowed again"
    counts += f", {result.get('movedTotal')} moved, {result.get('unaffected')} unaffected"
    print(f"{result.get('change')} policy {result.get('name')}: {state(result.get('outcome'))} ({counts})")
    rows = [
        (words, one.get("kind"), one.get("name"), one.get("sentence"))
        for key, words in _LISTS
        for one in result.get(key) or ()
    ]
    if rows:
        table(("WOULD BE", "KIND", "NAME", "WHY"), rows)
    for hint in dict.fromkeys(one.get("hint") for one in result.get("refused") or () if one.get("hint")):
        print(printable(str(hint)))
