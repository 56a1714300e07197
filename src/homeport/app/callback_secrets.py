"""The secrets that sign callbacks: made here when a trigger gets a callback URL, shown in that answer alone, kept
through updates whatever the caller sends back, and replaced when a caller asks for it."""

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from homeport.app.context import Context
from homeport.app.resources import fetch
from homeport.core.errors import Conflict, Invalid, NotFound
from homeport.core.fields import MASK
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.invocations.settings import is_public, triggers
from homeport.sealing.specs import Owner, open_callback_secret, seal_spec
from homeport.store.contract import Transaction
from homeport.store.records import Resource

SECRET = "callbackSecret"
URL = "callbackUrl"
_RANDOM_BYTES = 32  # as many as the digest that it keys


def with_callback_secrets(spec: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's `spec`, checked and with ids for its triggers, whose triggers have secrets where they have a callback
    URL: a new one in plain, or the mask of the one in `stored`. To be sealed next."""
    if not spec.get("triggers"):
        return spec
    known = {one.id for one, found in triggers(stored) if found.get(SECRET)}
    return {**spec, "triggers": [_with_secret(item, known) for item in spec["triggers"]]}


def _with_secret(item: dict[str, Any], known: set[str]) -> dict[str, Any]:
    without = {key: value for key, value in (item.get("configuration") or {}).items() if key != SECRET}
    if not without.get(URL):
        return {**item, "configuration": without} if item.get("configuration") else item
    secret = MASK if item["id"] in known else secrets.token_urlsafe(_RANDOM_BYTES)
    return {**item, "configuration": {**without, SECRET: secret}}


def check_callback_addresses(context: Context, spec: Mapping[str, Any]) -> None:
    """Raises `Invalid` for a callback URL whose host is an address that callbacks never reach. What a name stands for
    is looked at with each callback."""
    allowed = [ipaddress.ip_network(one) for one in context.configuration.invocations.callback_networks]
    for known, found in triggers(spec):
        url = found.get(URL)
        host = urlsplit(url).hostname if isinstance(url, str) else None
        try:
            address = ipaddress.ip_address(host or "")
        except ValueError:
            continue
        if not is_public(address) and not any(address in network for network in allowed):
            rule = (
                "must be a public address, or one of [invocations] callback_networks in the installation's config.toml"
            )
            raise Invalid(f"{known.field}.configuration.{URL}", rule, value=url)


def fresh_secrets(context: Context, resource: Resource, stored: Mapping[str, Any]) -> dict[str, str]:
    """The secrets in plain that `stored` did not have, by the trigger's id: to be shown once."""
    before = {found.get(SECRET) for _, found in triggers(stored)}
    return {
        known.id: open_callback_secret(context.sealing, resource.spec, known.id, _owner(resource))
        for known, found in triggers(resource.spec)
        if (token := found.get(SECRET)) and token not in before
    }


def shown(body: dict[str, Any], fresh: Mapping[str, str]) -> dict[str, Any]:
    """The answer with the secrets that its caller sees this once."""
    for item in body.get("spec", {}).get("triggers") or ():
        if item.get("id") in fresh:
            item["configuration"][SECRET] = fresh[item["id"]]
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A secret in plain, shown once."""

    trigger: str
    secret: str


async def rotate_callback_secret(
    context: Context, principal: Principal, kind: Kind, name: str, trigger: str | None
) -> NewSecret:
    """A new secret for the trigger, which may be left out where only one has a callback URL. Calls that were accepted
    before are signed with the one before. Makes no revision."""
    require(principal, f"{kind.plural}:update")
    context.space.require()
    now = context.clock.now()

    def write(tx: Transaction) -> NewSecret:
        stored = fetch(tx, principal.workspace, kind, name)
        ident = _chosen(stored, trigger)
        changed = [
            {**item, "configuration": {**item["configuration"], SECRET: secrets.token_urlsafe(_RANDOM_BYTES)}}
            if item.get("id") == ident
            else item
            for item in stored.spec["triggers"]
        ]
        (new,) = (item for item in changed if item.get("id") == ident)
        sealed = seal_spec(context.sealing, {"triggers": [new]}, {}, _owner(stored))["triggers"][0]
        spec = {**stored.spec, "triggers": [sealed if item.get("id") == ident else item for item in changed]}
        resource = replace(stored, spec=spec, updated_at=now, updated_by=principal.sub)
        if not tx.resources.replace(resource, stored.generation):
            raise Conflict(f"The {kind} {name!r} was changed at the same moment.", hint="Try again.")
        return NewSecret(trigger=ident, secret=new["configuration"][SECRET])

    return await context.store.write(write)


def _chosen(stored: Resource, trigger: str | None) -> str:
    having = [known.id for known, found in triggers(stored.spec) if found.get(SECRET)]
    if trigger is None and len(having) == 1:
        return having[0]
    if trigger in having:
        return str(trigger)
    if not having:
        raise NotFound(f"The {stored.kind} {stored.name!r} has no trigger with a callbackUrl.")
    named = ", ".join(having)
    if trigger is None:
        raise Invalid("trigger", f"must name one of the triggers with a callbackUrl: {named}")
    raise NotFound(
        f"The {stored.kind} {stored.name!r} has no trigger {trigger!r} with a callbackUrl; there are: {named}."
    )


def _owner(resource: Resource) -> Owner:
    return Owner(resource.workspace, resource.uid)
