"""The addresses that an order asks for: checked before anything is stored, and each given to one owner."""

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from homeport.app.context import Context, Intent
from homeport.app.resources import fetch
from homeport.core.errors import Conflict, Invalid
from homeport.core.ids import SERVING, Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Resource
from homeport.workloads.addresses import (
    claimed_paths,
    host_label,
    overlapping,
    read_addresses,
    stored_addresses,
    why_no_host,
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One place at which a workload answers. `trigger` is empty for its own path and host name."""

    url: str
    public: bool
    asynchronous: bool = False
    trigger: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Everywhere that it answers once it serves. `note` says why there is no host name, if there is none."""

    addresses: tuple[Address, ...]
    note: str


async def addresses_of(context: Context, principal: Principal, kind: Kind, name: str) -> Answering:
    """Raises `NotFound`."""
    require(principal, f"{kind.plural}:get")

    def read(tx: Transaction) -> tuple[Resource, list[str]]:
        return fetch(tx, principal.workspace, kind, name), _workspaces(tx)

    found, workspaces = await context.store.read(read)
    base = f"{context.base_url}/{found.workspace}"
    own = f"{base}/{kind.plural}/{name}"
    if not kind.serves:
        return Answering(addresses=(Address(url=own, public=False),), note="")
    said = stored_addresses(kind, name, found.spec, found.labels)
    places = [Address(url=own, public=said.public)]
    if label := host_label(kind, name, found.workspace, workspaces):
        places.append(Address(url=_host_url(context, label), public=said.public))
    for path in said.paths:
        url = f"{base}/{path.path}"
        places.append(Address(url=url, public=path.public, asynchronous=path.asynchronous, trigger=path.trigger))
    return Answering(addresses=tuple(places), note=_no_host(found, workspaces))


def _host_url(context: Context, label: str) -> str:
    base = urlsplit(context.base_url)
    port = f":{base.port}" if base.port else ""
    return f"{base.scheme}://{label}.{context.configuration.gateway.domain}{port}"


def host_warning(tx: Transaction, resource: Resource) -> str:
    """That it has no host name, and why; empty where it has one, and for what serves no requests."""
    return _no_host(resource, _workspaces(tx)) if resource.kind.serves else ""


def _no_host(resource: Resource, workspaces: list[str]) -> str:
    why = why_no_host(resource.kind, resource.name, resource.workspace, workspaces)
    return f"It has no host name of its own: {why}; its path serves" if why else ""


def _stored_paths(resource: Resource) -> list[str]:
    """An earlier version may have taken triggers without looking: those are not served."""
    try:
        return [*claimed_paths(resource.kind, resource.name, resource.spec)]
    except Invalid:
        return []


def _workspaces(tx: Transaction) -> list[str]:
    return [known.name for known in tx.identities.workspaces()]
