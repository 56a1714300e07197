"""Why a workload runs where it runs, or why it may not: every step of the decision, as it would be made now."""

from dataclasses import dataclass

from homeport.app.context import Context
from homeport.app.governance import Verdict, judge
from homeport.app.resources import fetch
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Resource, Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The verdict of today for the stored specification, and where its newest revision was placed."""

    resource: Resource
    verdict: Verdict
    newest: Revision | None


async def explain_workload(context: Context, principal: Principal, kind: Kind, name: str) -> Explanation:
    require(principal, f"{kind.plural}:get")

    def read(tx: Transaction) -> Explanation:
        resource = fetch(tx, principal.workspace, kind, name)
        revisions = tx.revisions.of(resource.uid)
        verdict = judge(context, tx, principal.workspace, kind, resource.spec)
        return Explanation(resource=resource, verdict=verdict, newest=revisions[0] if revisions else None)

    return await context.store.read(read)
