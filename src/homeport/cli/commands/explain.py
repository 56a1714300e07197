"""`homeport explain`: why a workload runs where it runs, or why it may not."""

from typing import Annotated, Any

import typer

from homeport.cli.completing import complete_name, complete_workload_kind
from homeport.cli.options import WORKLOADS, Data, Format, Output, Workspace, connect, parse_kind
from homeport.cli.output import emit, state


def explain(
    kind: Annotated[str, typer.Argument(help="agent or job.", autocompletion=complete_workload_kind)],
    name: Annotated[str, typer.Argument(help="Which one.", autocompletion=complete_name)],
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Show every step of the decision about a workload.

    It is made as it would be now. Exit code 3 when it is refused.

    \b
    Example:
      homeport explain agent hello-agent
    """
    chosen = parse_kind(kind, WORKLOADS)
    with connect(data, workspace) as client:
        answer = client.explain(chosen, name)
    if output is not Output.TEXT:
        emit(answer, output)
    else:
        _print(answer)
    if answer.get("outcome") == "refused":
        raise typer.Exit(3)


def _print(answer: dict[str, Any]) -> None:
    print(f"{answer.get('kind')} {answer.get('name')}: {state(answer.get('outcome'))}")
    for step in answer.get("steps") or ():
        print(f"  {state(step.get('verdict'))}  {step.get('subject')}: {step.get('sentence')}")
        if step.get("hint"):
            print(f"    {step['hint']}")
    if plan := answer.get("plan"):
        print("  plan: " + ", ".join(f"{key} {value}" for key, value in plan.items()))
    if refusal := answer.get("refusal"):
        print(f"  refused: {refusal.get('message')}")
        if refusal.get("hint"):
            print(f"  {refusal['hint']}")
    if newest := answer.get("newestRevision"):
        still = "would be placed there now, too" if newest.get("allowed") else "would not be placed there now"
        where = f"in region {newest.get('region')} on {newest.get('flavor')}"
        print(f"  newest revision: {newest.get('id')} ({newest.get('state')}) was placed {where} and {still}")
