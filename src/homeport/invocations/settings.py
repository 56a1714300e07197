"""How an agent's asynchronous calls run: read from the triggers of its specification."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from homeport.core.errors import Invalid
from homeport.core.schedule import check_expression
from homeport.core.spec import read_list, read_object, read_text
from homeport.workloads.triggers import TRIGGERS_MOST, Trigger, TriggerType, read_triggers

TIMEOUT_S = 900  # public contract: the most, and what a trigger has that names none


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """`trigger` is empty where none is configured. `secret` is the sealed callback secret, None without a
    `callback_url`."""

    trigger: str = ""
    retries: int = 0
    timeout_s: int = TIMEOUT_S
    callback_url: str = ""
    secret: str | None = None


def call_settings(spec: Mapping[str, Any], trigger: str) -> CallSettings | None:
    """What a call to the trigger of this id runs with; None where there is no such trigger. An empty id is
    `?async=true`: the first enabled trigger of type `http-async` counts, or none."""
    for known, found in triggers(spec):
        if (known.id == trigger) if trigger else (known.type is TriggerType.HTTP_ASYNC and known.enabled):
            return CallSettings(
                trigger=known.id,
                retries=known.retry or 0,
                timeout_s=known.timeout_s or TIMEOUT_S,
                callback_url=found.get("callbackUrl") or "",
                secret=found.get("callbackSecret"),
            )
    return None if trigger else CallSettings()


def triggers(spec: Mapping[str, Any]) -> list[tuple[Trigger, Mapping[str, Any]]]:
    """Each with its configuration. None of a specification that an earlier version took without looking at them."""
    try:
        known = read_triggers(spec)
    except Invalid:
        return []
    return [(one, item.get("configuration") or {}) for one, item in zip(known, spec.get("triggers") or (), strict=True)]


def check_triggers(spec: Mapping[str, Any]) -> None:
    """Raises `Invalid` with the path of what is wrong with what asynchronous calls and schedules alone read."""
    for index, item in enumerate(read_list(spec, "triggers", "spec.triggers", TRIGGERS_MOST)):
        at = f"spec.triggers[{index}].configuration"
        found = read_object(item, "configuration", at)
        if expression := read_text(found, "schedule", f"{at}.schedule"):
            check_expression(expression, f"{at}.schedule")
        check_callback_url(read_text(found, "callbackUrl", f"{at}.callbackUrl"), f"{at}.callbackUrl")


def check_callback_url(url: str | None, field: str) -> None:
    if url is None:
        return
    rule = "must be an http or https address such as https://example.com/hook, without a user or a fragment"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    blank = any(char.isspace() or not char.isprintable() for char in url)
    if not host or blank or parts.scheme not in ("http", "https") or parts.username is not None or parts.fragment:
        raise Invalid(field, rule, value=url)


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GIVEN_OUT = ipaddress.ip_network("2000::/3")  # of IPv6; all else is special, obsolete, or a network's own
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")  # some clouds have their metadata there
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: _Address) -> bool:
    """Whether it may be anybody's: not private, loopback, link-local, multicast or reserved, nor an IPv6 form of such
    an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GIVEN_OUT:
            return False
    return address.is_global and not address.is_multicast and address not in _PROTOCOLS
