"""Signing keys change hands: refused, killed at each step, let go of when nothing needs them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from homeport.app.first_run import ensure_first_run
from homeport.core.errors import Unauthenticated, Unavailable
from homeport.identity.keys import GATEWAY_AUDIENCE, KeyRing, kid_of
from homeport.reconcile import signing
from homeport.reconcile.signing import SigningKeys
from homeport.testing.control_plane import ControlPlane

URL = "/v0/homeport/signing-keys"


class Killed(BaseException):
    """The process died here."""


def _restarted(plane: ControlPlane) -> KeyRing:
    """The ring of the next start."""
    return KeyRing.load_or_create(plane.context.data.signing_key)


def _keys(plane: ControlPlane, told: Callable[[], bool]) -> SigningKeys:
    async def tell() -> bool:
        return told()

    return replace(plane.context, tell_gateway=tell).signing


async def test_a_new_key_signs_once_the_gateway_has_it_and_the_old_one_verifies_on(plane: ControlPlane) -> None:
    ring, heard = plane.context.keys, []

    def told() -> bool:
        heard.append(([one["kid"] for one in ring.public_jwks()["keys"]], ring.held[0].kid))
        return True

    old = ring.held[0].kid
    new = await _keys(plane, told).rotate()
    assert heard == [([old, new], old)], "first it verifies, then it signs"
    assert [one.kid for one in ring.held] == [one.kid for one in _restarted(plane).held] == [new, old]
    assert (await plane.api.get("/v0/agents")).status_code == 200, "the key of the test is of the old one"


async def test_a_gateway_that_does_not_answer_changes_nothing(plane: ControlPlane) -> None:
    held, written = plane.context.keys.held, plane.context.data.signing_key.read_bytes()
    with pytest.raises(Unavailable, match="nothing was changed"):
        await _keys(plane, lambda: False).rotate()
    assert (plane.context.keys.held, plane.context.data.signing_key.read_bytes()) == (held, written)


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("step", ["gateway", "file", "written", "admin key", "told again"])
async def test_killed_at_any_step_the_next_start_has_all_of_a_rotation_or_nothing(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, step: str, only: bool
) -> None:
    context = plane.context
    await ensure_first_run(context)
    old, calls = context.keys.held[0].kid, 0

    def told() -> bool:
        nonlocal calls
        calls += 1
        if step == ("gateway" if calls == 1 else "told again"):
            raise Killed
        return True

    def die(*_: object) -> None:
        raise Killed

    if step == "file":
        monkeypatch.setattr("homeport.identity.keys.replace_private", die)
    elif step == "written":
        monkeypatch.setattr(signing, "renew_admin_key", die)
    elif step == "admin key":
        monkeypatch.setattr(signing, "replace_private", die)
    try:
        await _keys(plane, told).rotate(only=only)
    except Killed:
        pass
    monkeypatch.undo()
    ring = _restarted(plane)
    happened = step not in ("gateway", "file")
    assert (ring.held[0].kid != old) is happened
    assert len(ring.held) == (1 if not happened or (only and step == "told again") else 2)
    await ensure_first_run(replace(context, keys=ring))
    key = context.data.admin_key.read_text().strip()
    assert kid_of(key) == ring.held[0].kid and ring.verify(key, GATEWAY_AUDIENCE, plane.clock.now())


async def test_an_old_key_goes_by_itself_once_nothing_needs_it(plane: ControlPlane) -> None:
    keys, ring = plane.context.signing, plane.context.keys
    first = ring.held[0].kid
    plane.clock.move(60)
    second = await keys.rotate()
    plane.clock.move(60)
    assert await keys.rotate() != second
    await keys.retire_unneeded()
    assert len(ring.held) == 3, "access tokens may be in force still"
    plane.clock.move(timedelta(hours=3).total_seconds())
    await keys.retire_unneeded()
    assert [one.kid for one in ring.held][1:] == [first], "the second signed nothing; the admin's key is the first's"
    assert _restarted(plane).public_jwks() == ring.public_jwks()


async def test_refusals_name_what_is_needed_and_who_may(plane: ControlPlane) -> None:
    ring = plane.context.keys
    signs = ring.held[0].kid
    assert (await plane.api.delete(f"{URL}/{signs}")).status_code == 409
    assert (await plane.api.delete(f"{URL}/nothing")).status_code == 404
    assert (await plane.api.post(URL, json={"only": "yes"})).status_code == 400
    plane.clock.move(60)
    listed = (await plane.api.post(URL, json={})).json()["data"]
    assert [(one["id"] == signs, one["signs"]) for one in listed] == [(False, True), (True, False)]
    refused = await plane.api.delete(f"{URL}/{signs[:8]}")
    assert refused.status_code == 409 and "API key" in refused.text
    assert (await plane.api.get(URL)).json()["data"] == listed
    assert (await plane.api.delete(f"{URL}/{signs[:8]}", params={"force": "true"})).json()["id"] == signs
    assert (await plane.api.get("/v0/agents")).status_code == 401


async def test_secrets_that_the_old_key_derived_are_good_until_it_goes(plane: ControlPlane) -> None:
    ring = plane.context.keys
    secret = ring.derive("account-secret:sa-1")
    await plane.context.signing.rotate()
    assert ring.derive("account-secret:sa-1") != secret and ring.derives("account-secret:sa-1", secret)
    await plane.context.signing.rotate(only=True)
    assert not ring.derives("account-secret:sa-1", secret)
    with pytest.raises(Unauthenticated):
        ring.verify(plane.api.headers["Authorization"].partition(" ")[2], GATEWAY_AUDIENCE, plane.clock.now())
