"""`homeport keys`: API keys of service accounts, and the installation's own keys that sign them."""

from typing import Annotated, Any

import typer

from homeport.cli.commands.accounts import Account
from homeport.cli.completing import complete_account, complete_signing_key
from homeport.cli.options import Data, Format, Output, Workspace, connect
from homeport.cli.output import age, emit, note, tell, tell_all, warn
from homeport.core.errors import NotFound

app = typer.Typer(help="API keys, and the keys that sign them.", no_args_is_help=True)


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


@app.command("show")
def show_keys(data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """Show the installation's signing keys and what needs them.

    \b
    Example:
      homeport keys show
    """
    with connect(data, workspace) as client:
        found = [*client.list_signing_keys()]
    columns = ("ID", "AGE", "SIGNS", "NEEDED BY")
    tell_all(found, output, none="There is no signing key.", columns=columns, row=_signing_row)


def _signing_row(item: dict[str, Any]) -> tuple[object, ...]:
    signs = bool(item.get("signs"))
    needs = "; ".join(item.get("needs") or ()) or ("everything new" if signs else "nothing")
    return item.get("id"), age(item.get("createdAt")), "yes" if signs else "no", needs


@app.command("rotate")
def rotate_signing_key(
    only: Annotated[
        bool, typer.Option("--revoke-all", "--now", help="Void every older key at once, and all it signed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --revoke-all.")] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Have a new signing key sign from now on.

    The old one verifies until nothing needs it, or until `homeport keys retire`: no request fails meanwhile. The
    administrator's key in the data directory is renewed. With --revoke-all, which is for a key that leaked, everything
    that was given out before is void at once.

    \b
    Examples:
      homeport keys rotate
      homeport keys rotate --revoke-all
    """
    with connect(data, workspace) as client:
        if only:
            _say_what_ends([*client.list_signing_keys()])
            if not yes:
                typer.confirm("Void all of that now?", abort=True, err=True)
        found = client.rotate_signing_key(only=only)
    tell(f"signing key {found[0].get('id')} signs now", found, output)
    for old in found[1:]:
        needs = "; ".join(old.get("needs") or ()) or "nothing"
        note(f"{old.get('id')} verifies on, needed by: {needs}")
    note("Back up DATA/keys. `homeport keys show` tells when old keys can go.")


def _say_what_ends(found: list[dict[str, Any]]) -> None:
    warn(f"{len(found)} signing keys become void" if len(found) > 1 else "the signing key becomes void")
    for text in (
        "every API key, and copies of the administrator's (`homeport login`, BL_API_KEY): make new ones afterwards;",
        "the secret of every service account: make the accounts anew;",
        "the credentials of running programs: restart Homeport, or deploy them again;",
        "addresses of uploads and of tasks under way. The file DATA/admin-key is renewed by itself.",
    ):
        note(f"  {text}")


@app.command("retire")
def retire_signing_key(
    key: Annotated[
        str,
        typer.Argument(
            help="The signing key's id, or its beginning, from `homeport keys show`.",
            autocompletion=complete_signing_key,
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Although something needs it; that is void then.")] = False,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """End a signing key that signs no more.

    \b
    Example:
      homeport keys retire LccSrHLO
    """
    with connect(data, workspace) as client:
        gone = client.retire_signing_key(key, force=force)
    tell(f"signing key {gone.get('id')} is gone; what it signed is void", gone, output)
