"""What a trigger's settings mean for asynchronous calls, and which addresses callbacks may reach."""

import ipaddress
from typing import Any

import pytest

from homeport.invocations.settings import CallSettings, call_settings, is_public


def trigger(ident: str, **more: Any) -> dict[str, Any]:
    return {"id": ident, "type": "http-async", **more}


def test_the_first_enabled_trigger_of_the_type_counts() -> None:
    spec = {
        "triggers": [
            trigger("web", type="http"),
            trigger("off", enabled=False, configuration={"retry": 9}),
            trigger("on", configuration={"retry": 2, "timeout": "1m"}),
            trigger("second", configuration={"retry": 7}),
        ]
    }
    found = call_settings(spec, "")
    assert found is not None and (found.trigger, found.retries, found.timeout_s) == ("on", 2, 60)
    named = call_settings(spec, "second")
    assert named is not None and named.retries == 7
    assert call_settings(spec, "none") is None


def test_without_a_trigger_there_is_no_retry_and_the_longest_time() -> None:
    assert call_settings({}, "") == CallSettings(retries=0, timeout_s=900)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
        *("64:ff9b::a00:1", "2002:7f00:1::", "::ffff:169.254.169.254", "198.18.0.1"),
        *("192.0.0.192", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1", "fec0::1"),
    ],
)
def test_no_callback_goes_where_only_this_machine_or_its_network_reaches(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
