"""The revisions of a workload as the contract lists them."""

from homeport.app.context import Context
from homeport.app.resources import fetch
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Revision
from homeport.workloads.traffic import Traffic


async def list_revisions(
    context: Context, principal: Principal, kind: Kind, name: str
) -> tuple[Traffic, list[Revision]]:
    """How its requests are shared, and its revisions, newest first."""
    # The contract's oddity: the others' are lists.
    require(principal, f"{kind.plural}:{'get' if kind is Kind.FUNCTION else 'list'}")

    def read(tx: Transaction) -> tuple[Traffic, list[Revision]]:
        found = fetch(tx, principal.workspace, kind, name)
        return found.traffic, tx.revisions.of(found.uid)

    return await context.store.read(read)
