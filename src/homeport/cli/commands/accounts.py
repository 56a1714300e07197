"""`homeport accounts`: the service accounts of a workspace. Keys belong to them."""

from typing import Annotated

import typer

from homeport.cli.completing import complete_account
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note, tell
from homeport.core.errors import Invalid

app = typer.Typer(help="Make and remove service accounts, to which API keys belong.", no_args_is_help=True)

Account = Annotated[
    str, typer.Argument(help="The account's name or client id.", autocompletion=complete_account, metavar="ACCOUNT")
]
_ROLES = ("member", "admin")


@app.command("list")
def list_accounts(data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """List the service accounts.

    \b
    Example:
      homeport accounts list
    """
    from homeport.cli.commands.getting import show
    from homeport.cli.views import Wanted

    show("accounts", [], Wanted(), data=data, workspace=workspace, output=output)


@app.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    role: Annotated[str, typer.Option(help="member or admin.")] = "member",
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Make a service account.

    Its client secret is shown once, for programs that ask for tokens by OAuth; most need a key instead:
    `homeport keys create`.

    \b
    Examples:
      homeport accounts create ci
      homeport accounts create backup --role admin --description "nightly copies"
    """
    if role not in _ROLES:
        raise Invalid("--role", f"must be {' or '.join(_ROLES)}", value=role)
    with connect(data, workspace) as client:
        made = client.create_account({"name": name, "description": description, "role": role})
    if output is not Output.TEXT:
        emit(made, output)
        return
    print(f"service account {name} created")
    print(f"client id      {made.get('client_id')}")
    print(f"client secret  {made.get('client_secret')}")
    note(f"The secret is not shown again. A key for it: `homeport keys create {name}`.")


@app.command("delete")
def delete_account(
    account: Account, data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT
) -> None:
    """Remove a service account; its keys and tokens end at once.

    \b
    Example:
      homeport accounts delete ci
    """
    from homeport.cli.views import find_account

    with connect(data, workspace) as client:
        gone = client.delete_account(str(find_account(client, account)["client_id"]))
    tell(f"service account {gone.get('name')} deleted", gone, output)
