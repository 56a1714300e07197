"""The addresses that an order asks for: checked before anything is stored, and each given to one owner."""

from dataclasses import replace

from homeport.app.context import Context, Intent
from homeport.core.errors import Conflict, Invalid
from homeport.core.ids import SERVING, Kind
from homeport.store.contract import Transaction
from homeport.store.records import Resource
from homeport.workloads.addresses import claimed_paths, host_label, overlapping, read_addresses, why_no_host
from homeport.workloads.triggers import with_trigger_ids


def addressed(kind: Kind, intent: Intent) -> Intent:
    """The intent with an id for each trigger. Raises `Invalid` for what could not be served."""
    if not kind.serves:
        return intent
    read_addresses(kind, intent.name, intent.spec, intent.labels)
    return replace(intent, spec=with_trigger_ids(intent.spec))


def claim_paths(tx: Transaction, resource: Resource) -> None:
    """Raises `Conflict` naming the owner where a path of the resource is, or lies above or below, that of another
    workload. In the transaction that stores the resource, so that of two orders at once one is refused."""
    mine = claimed_paths(resource.kind, resource.name, resource.spec) if resource.kind.serves else {}
    if not mine:
        return
    for kind in SERVING:
        for other in tx.resources.with_setting(kind, ["triggers"]):
            if other.workspace != resource.workspace or other.uid == resource.uid:
                continue
            for path, field in mine.items():
                if (taken := overlapping(path, _stored_paths(other))) is not None:
                    raise Conflict(
                        f"{field} {path!r} is taken: the {kind} {other.name!r} answers at {taken!r} and below.",
                        hint=f"Choose another path, or take it out of the {kind} {other.name!r} first.",
                    )


def host_name(context: Context, tx: Transaction, resource: Resource) -> str:
    """Where else it answers, such as `agt-hello-default.localhost`; empty where `host_warning` says why."""
    label = host_label(resource.kind, resource.name, resource.workspace, _workspaces(tx))
    return f"{label}.{context.configuration.gateway.domain}" if label else ""


def host_warning(tx: Transaction, resource: Resource) -> str:
    """That it has no host name, and why; empty where it has one, and for what serves no requests."""
    if not resource.kind.serves:
        return ""
    why = why_no_host(resource.kind, resource.name, resource.workspace, _workspaces(tx))
    return f"It has no host name of its own: {why}; its path serves" if why else ""


def _stored_paths(resource: Resource) -> list[str]:
    """An earlier version may have taken triggers without looking: those are not served."""
    try:
        return [*claimed_paths(resource.kind, resource.name, resource.spec)]
    except Invalid:
        return []


def _workspaces(tx: Transaction) -> list[str]:
    return [known.name for known in tx.identities.workspaces()]
