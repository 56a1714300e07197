"""How an agent's asynchronous calls run: read from the triggers of its specification."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from homeport.core.errors import Invalid
from homeport.core.spec import Bounds, parse_duration, read_bool, read_int, read_list, read_object, read_text

TIMEOUT_S = 900  # public contract: the most, and what a trigger has that names none
RETRIES = Bounds(low=0, high=100)  # with the back-off's cap, more than an hour of attempts
TRIGGERS_MOST = 100
ASYNC = "http-async"
CRON = "cron"


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
    `?async=true`: the first enabled trigger of type `http-async` counts, or none. The specification was checked when it
    was stored."""
    for item in triggers(spec):
        enabled = item.get("enabled") is not False
        if (item.get("id") == trigger) if trigger else (item.get("type") == ASYNC and enabled):
            return _settings(item)
    return None if trigger else CallSettings()


def triggers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in spec.get("triggers") or () if isinstance(item, Mapping))


def _settings(item: Mapping[str, Any]) -> CallSettings:
    found = item.get("configuration") or {}
    timeout = found.get("timeout")
    return CallSettings(
        trigger=str(item.get("id") or ""),
        retries=min(found.get("retry") or 0, RETRIES.high),
        timeout_s=min(parse_duration(timeout, "timeout") or TIMEOUT_S, TIMEOUT_S) if timeout else TIMEOUT_S,
        callback_url=found.get("callbackUrl") or "",
        secret=found.get("callbackSecret"),
    )


def check_triggers(spec: Mapping[str, Any]) -> None:
    """Raises `Invalid` with the path of what is wrong with what asynchronous calls need of the triggers."""
    for index, item in enumerate(read_list(spec, "triggers", "spec.triggers", TRIGGERS_MOST)):
        at = f"spec.triggers[{index}]"
        if not isinstance(item, Mapping):
            raise Invalid(at, "must be an object", value=item)
        read_bool(item, "enabled", f"{at}.enabled", True)
        found = read_object(item, "configuration", f"{at}.configuration")
        at = f"{at}.configuration"
        read_int(found, "retry", f"{at}.retry", RETRIES)
        _check_timeout(item, found, f"{at}.timeout")
        check_callback_url(read_text(found, "callbackUrl", f"{at}.callbackUrl"), f"{at}.callbackUrl")


def _check_timeout(item: Mapping[str, Any], found: Mapping[str, Any], field: str) -> None:
    value = found.get("timeout")
    if value is None:
        return
    seconds = parse_duration(value, field)
    if not 1 <= seconds <= TIMEOUT_S:
        raise Invalid(field, f"must be from 1 to {TIMEOUT_S} seconds", value=value)


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
    return address.is_global and not address.is_multicast
