"""`homeport keys`: API keys of service accounts."""

from typing import Annotated, Any

import typer

from homeport.cli.commands.accounts import Account
from homeport.cli.completing import complete_account
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import emit, note, tell
from homeport.core.errors import NotFound

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command("list")
def list_keys(
    account: Annotated[str | None, typer.Argument(help="Only this account's.", autocompletion=complete_account)] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """List the keys of one service account or of all.

    Their values are not kept, so none is shown.

    \b
    Examples:
      homeport keys list
      homeport keys list ci -o json
    """
    from homeport.cli.commands.getting import show
    from homeport.cli.views import Wanted

    show("keys", [account] if account else [], Wanted(), data=data, workspace=workspace, output=output)


@app.command("create")
def create_key(
    account: Account,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="Such as 24h, 30d or 1w. Default: never.")
    ] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Make a key for a service account and print its value, once.

    Standard output holds the value only.

    \b
    Examples:
      homeport keys create ci --name pipeline --expires-in 30d
      homeport keys create ci > ci.key
    """
    from homeport.cli.views import find_account

    body: dict[str, Any] = {"name": name} if name else {}
    body |= {"expires_in": expires_in} if expires_in else {}
    with connect(data, workspace) as client:
        owner = find_account(client, account)
        made = client.create_key(str(owner["client_id"]), body)
    if output is not Output.TEXT:
        emit(made, output)
        return
    print(made.get("apiKey"))
    note(f"Key {made.get('id')} of {owner.get('name')}. Its value is not shown again; `homeport keys revoke` ends it.")


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's id, from `homeport keys list`.")],
    account: Annotated[
        str | None, typer.Option("--account", help="Whose it is; default: looked for.", autocompletion=complete_account)
    ] = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """End a key at once.

    \b
    Example:
      homeport keys revoke ak-abc123
    """
    from homeport.cli.views import find_account

    with connect(data, workspace) as client:
        accounts = [find_account(client, account)] if account else client.list_accounts()
        for owner in accounts:
            known = next((one for one in client.list_keys(str(owner["client_id"])) if one.get("id") == key), None)
            if known is not None:
                client.revoke_key(str(owner["client_id"]), key)
                break
        else:
            raise NotFound(f"There is no key {key!r}.", hint="`homeport keys list` shows them.")
    tell(f"key {key} of {owner.get('name')} revoked", known, output)
