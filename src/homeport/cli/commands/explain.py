"""`homeport explain`: why a workload runs where it runs or why it may not, and what a policy does."""

from typing import Annotated, Any

import typer

from homeport.cli.completing import complete_kind, complete_name
from homeport.cli.options import Data, Format, Output, Workspace, connect, parse_kind
from homeport.cli.output import emit, state, table


def explain(
    kind: Annotated[str, typer.Argument(help="agent, function, job or policy.", autocompletion=complete_kind)],
    name: Annotated[str, typer.Argument(help="Which one.", autocompletion=complete_name)],
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Show every step of a decision, or what a policy does.

    Decisions are made as they would be now. Exit code 3 when the workload, or one that names the policy, is refused.

    \b
    Examples:
      homeport explain agent hello-agent
      homeport explain policy eu-only
    """
    chosen = parse_kind(kind)
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
    if (users := answer.get("users")) is not None:
        _print_users(users, int(answer.get("usersTotal") or 0))


def _print_users(users: list[dict[str, Any]], total: int) -> None:
    print(f"  named by {total} workload(s){f', of which the first {len(users)}:' if total > len(users) else ''}")
    if users:
        rows = [(user.get("kind"), user.get("name"), user.get("outcome"), user.get("sentence")) for user in users]
        table(("KIND", "NAME", "NOW", "WHY"), rows)
