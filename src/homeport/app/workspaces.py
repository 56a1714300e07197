"""Workspaces as a caller sees them. Every credential of this version belongs to one."""

from homeport.app.context import Context
from homeport.core.errors import Denied, NotFound
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Workspace

# What the contract counts; kinds that this version does not serve have nothing to count.
_NOT_SERVED = (
    "models",
    "sandboxes",
    "volumes",
    "volumetemplates",
    "integrationconnections",
    "previews",
    "customdomains",
)


async def list_workspaces(context: Context, principal: Principal) -> list[Workspace]:
    """The caller's own."""
    require(principal, "workspaces:list")
    workspace = await context.store.read(lambda tx: tx.identities.workspace(principal.workspace))
    return [] if workspace is None else [workspace]


async def get_workspace(
    context: Context, principal: Principal, name: str, *, count: bool
) -> tuple[Workspace, dict[str, int] | None]:
    """A workspace, and how many resources of each kind it has if `count`. Raises `NotFound`, and `Denied` for one that
    is not the caller's."""
    require(principal, "workspaces:get")

    def read(tx: Transaction) -> tuple[Workspace, dict[str, int] | None]:
        workspace = tx.identities.workspace(name)
        if workspace is None:
            raise NotFound(f"There is no workspace {name!r}.")
        if name != principal.workspace:
            raise Denied(f"This key belongs to workspace {principal.workspace!r}, not to {name!r}.")
        return workspace, _counts(tx, name) if count else None

    return await context.store.read(read)


def _counts(tx: Transaction, workspace: str) -> dict[str, int]:
    counts = dict.fromkeys(_NOT_SERVED, 0)
    for kind in Kind:
        counts[kind.plural] = tx.resources.count(workspace, kind)
    accounts = tx.identities.accounts(workspace)
    return counts | {"serviceaccounts": sum(account.owner_uid is None for account in accounts)}
