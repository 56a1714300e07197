"""Keys are signed, verified and kept whole."""

import base64
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeport.core.errors import StoreUnavailable, Unauthenticated
from homeport.identity.keys import GATEWAY_AUDIENCE, ISSUER, TASK_AUDIENCE, Claims, KeyRing

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing.load_or_create(tmp_path / "keys" / "signing.json")


def claims(**change: object) -> Claims:
    base = {"sub": "sa-1", "jti": "k-1", "workspace": "default", "scopes": ("all",), "issued_at": NOW}
    return Claims(**{**base, **change})  # type: ignore[arg-type]


def _segment(data: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def test_what_was_signed_is_read_back(ring: KeyRing) -> None:
    given = claims(expires_at=NOW + timedelta(hours=2), extra={"execution": "exec-1", "index": 3})
    token = ring.sign(given, TASK_AUDIENCE)
    assert ring.verify(token, TASK_AUDIENCE, NOW) == given
    assert len(token) < 1000


def test_a_key_without_an_end_does_not_expire(ring: KeyRing) -> None:
    assert (
        ring.verify(ring.sign(claims(), GATEWAY_AUDIENCE), GATEWAY_AUDIENCE, NOW + timedelta(days=9999)).sub == "sa-1"
    )


def test_a_key_expires_at_its_second(ring: KeyRing) -> None:
    token = ring.sign(claims(expires_at=NOW + timedelta(seconds=10)), GATEWAY_AUDIENCE)
    ring.verify(token, GATEWAY_AUDIENCE, NOW + timedelta(seconds=9))
    with pytest.raises(Unauthenticated, match="expired"):
        ring.verify(token, GATEWAY_AUDIENCE, NOW + timedelta(seconds=10))


def test_a_key_for_another_use_is_refused(ring: KeyRing) -> None:
    with pytest.raises(Unauthenticated, match="not meant for this use"):
        ring.verify(ring.sign(claims(), TASK_AUDIENCE), GATEWAY_AUDIENCE, NOW)


def test_extra_claims_cannot_replace_the_issuer_the_audience_or_the_subject(ring: KeyRing) -> None:
    token = ring.sign(claims(extra={"iss": "evil", "aud": "x", "sub": "root"}), GATEWAY_AUDIENCE)
    assert ring.verify(token, GATEWAY_AUDIENCE, NOW).sub == "sa-1"
    plain = ring.sign({"sub": "sa-1", "iat": 1, "iss": "evil", "aud": "x"}, GATEWAY_AUDIENCE)
    assert ring.verify(plain, GATEWAY_AUDIENCE, NOW).sub == "sa-1"


@pytest.mark.parametrize("payload", [{"iat": 1}, {"sub": "", "iat": 1}, {"sub": "a"}, {"sub": "a", "iat": "x"}])
def test_incomplete_claims_are_refused(ring: KeyRing, payload: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated):
        ring.verify(ring.sign(payload, GATEWAY_AUDIENCE), GATEWAY_AUDIENCE, NOW)


def test_other_rings_algorithms_and_rubbish_are_refused(ring: KeyRing, tmp_path: Path) -> None:
    token = ring.sign(claims(), GATEWAY_AUDIENCE)
    header, body, signature = token.split(".")
    kid = ring.public_jwks()["keys"][0]["kid"]
    other = KeyRing.load_or_create(tmp_path / "other.json").sign(claims(), GATEWAY_AUDIENCE)
    unsigned = f"{_segment({'alg': 'none', 'kid': kid})}.{body}."
    symmetric = f"{_segment({'alg': 'HS256', 'kid': kid})}.{body}.{signature}"
    changed = f"{header}.{_segment({'sub': 'root', 'iss': ISSUER, 'aud': GATEWAY_AUDIENCE, 'iat': 1})}.{signature}"
    for bad in (
        other,
        unsigned,
        symmetric,
        changed,
        "",
        "a",
        "a.b.c",
        "..",
        "é.é.é",
        "x" * 100_000,
        token[:-6] + "AAAAAA",
    ):
        with pytest.raises(Unauthenticated):
            ring.verify(bad, GATEWAY_AUDIENCE, NOW)


def test_the_file_is_the_owners_alone_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.json"
    token = KeyRing.load_or_create(path).sign(claims(), GATEWAY_AUDIENCE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["signing.json"]
    assert KeyRing.load_or_create(path).verify(token, GATEWAY_AUDIENCE, NOW).sub == "sa-1"


def test_a_file_that_others_could_read_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "signing.json"
    KeyRing.load_or_create(path)
    path.chmod(0o644)
    KeyRing.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "was readable by others" in caplog.text


def test_a_broken_file_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    for content in ("", "{", "[]", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "QUFBQUFBQUFBQUFBQUFBQUFBQUE"}]}'):
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(StoreUnavailable, match="damaged"):
            KeyRing.load_or_create(path)
        assert path.read_text() == content


def test_of_first_starts_at_once_one_key_wins(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    found: list[str] = []
    gate = threading.Barrier(8)

    def first_start() -> None:
        gate.wait(10)
        found.append(KeyRing.load_or_create(path).public_jwks()["keys"][0]["kid"])

    threads = [threading.Thread(target=first_start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8 and len(set(found)) == 1


def test_the_first_key_signs_and_all_verify(tmp_path: Path) -> None:
    old_path, new_path, both_path = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "both.json"
    old, new = KeyRing.load_or_create(old_path), KeyRing.load_or_create(new_path)
    keys = [key for path in (new_path, old_path) for key in json.loads(path.read_text())["keys"]]
    both_path.write_text(json.dumps({"keys": keys}))
    both_path.chmod(0o600)
    both = KeyRing.load_or_create(both_path)
    assert both.verify(old.sign(claims(), GATEWAY_AUDIENCE), GATEWAY_AUDIENCE, NOW)
    assert new.verify(both.sign(claims(), GATEWAY_AUDIENCE), GATEWAY_AUDIENCE, NOW)
    with pytest.raises(Unauthenticated):
        old.verify(both.sign(claims(), GATEWAY_AUDIENCE), GATEWAY_AUDIENCE, NOW)


def test_the_public_set_has_no_private_part(ring: KeyRing) -> None:
    (key,) = ring.public_jwks()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")


def test_derived_secrets_differ_by_purpose_and_by_ring(ring: KeyRing, tmp_path: Path) -> None:
    other = KeyRing.load_or_create(tmp_path / "other.json")
    secrets = {ring.derive("a"), ring.derive("b"), other.derive("a")}
    assert len(secrets) == 3 and ring.derive("a") in secrets
