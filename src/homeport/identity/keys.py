"""Signed keys: every credential of Homeport is a JWT signed with Ed25519; none is stored.

Called by the composition roots (which load the ring), the API (which signs and verifies) and the data plane (which
hands the public keys to Envoy). Revocation and membership are not here: a valid signature says who, not whether still.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet, OKPKey
from joserfc.jws import JWSRegistry

from homeport.core.clock import SystemClock
from homeport.core.errors import Internal, StoreUnavailable, Unauthenticated
from homeport.core.private import read_private, replace_private, write_once

ISSUER = "homeport"
GATEWAY_AUDIENCE = "gateway"  # API keys and access tokens
TASK_AUDIENCE = "task-data"  # one task's own arguments
UPLOAD_AUDIENCE = "upload"  # one archive for one revision
# RFC 9864 renames this algorithm to Ed25519; Envoy and the public SDKs know it by this name only.
ALGORITHM = "EdDSA"
_TOKEN_CHARACTERS = 8192  # our longest is below 1 000; a header may carry no more anyway
_PUT_BACK = "Put the file back from a backup of the data directory: without it every key ever given out is void."
_MADE = "homeport:made"  # in the file, beside each key: since when it signs, microseconds since 1970
_OWN_CLAIMS = frozenset({"iss", "aud", "sub", "jti", "workspace", "scopes", "iat", "exp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a key says. Times are whole seconds in UTC; `expires_at` None means never. `extra` holds further claims,
    such as the execution and index of a task's key."""

    sub: str
    jti: str
    workspace: str
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_payload(self) -> dict[str, Any]:
        payload = {key: value for key, value in self.extra.items() if key not in _OWN_CLAIMS}
        payload |= {"sub": self.sub, "jti": self.jti, "workspace": self.workspace, "scopes": list(self.scopes)}
        payload["iat"] = int(self.issued_at.timestamp())
        if self.expires_at is not None:
            payload["exp"] = int(self.expires_at.timestamp())
        return payload

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "Claims":
        """Raises ValueError or TypeError for claims of a wrong shape."""
        sub, jti = payload["sub"], payload.get("jti", "")
        workspace, scopes = payload.get("workspace", ""), payload.get("scopes", [])
        if not isinstance(sub, str) or not sub:
            raise ValueError("no sub")
        if not isinstance(jti, str) or not isinstance(workspace, str) or not isinstance(scopes, list):
            raise ValueError("jti, workspace or scopes of a wrong type")
        return cls(
            sub=sub,
            jti=jti,
            workspace=workspace,
            scopes=tuple(str(scope) for scope in scopes),
            issued_at=_moment(payload["iat"]),
            expires_at=_moment(payload["exp"]) if "exp" in payload else None,
            extra={key: value for key, value in payload.items() if key not in _OWN_CLAIMS},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key. made_at: since when it signs; None for one of a version that did not write it down."""

    key: OKPKey
    made_at: datetime | None

    @classmethod
    def generate(cls, now: datetime) -> "SigningKey":
        key = OKPKey.generate_key("Ed25519", {"use": "sig", "alg": ALGORITHM}, private=True, auto_kid=True)
        return cls(key=key, made_at=now)

    @property
    def kid(self) -> str:
        return str(self.key.kid)

    def to_json(self) -> dict[str, Any]:
        made = {} if self.made_at is None else {_MADE: round(self.made_at.timestamp() * 1e6)}
        return {**self.key.as_dict(private=True), **made}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "SigningKey":
        """Raises ValueError, TypeError, KeyError or JoseError."""
        key = OKPKey.import_key({name: value for name, value in item.items() if name != _MADE})
        if not key.is_private:
            raise ValueError("no key can sign")
        key.ensure_kid()
        return cls(key=key, made_at=_moment(item[_MADE] / 1e6) if _MADE in item else None)


class KeyRing:
    """The signing keys of one installation: the first signs, all verify, so that a key can be replaced without a
    token that is void. What it holds is exchanged at once; safe to use from several threads."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._registry = _OnlyEdDSA()
        self.hold(keys)

    @property
    def held(self) -> tuple[SigningKey, ...]:
        return self._held[0]

    def hold(self, keys: Sequence[SigningKey]) -> None:
        """Use these from now on; the file stays as it is."""
        if not keys:
            raise Internal(detail="a key ring needs at least one key")
        self._held = (tuple(keys), KeySet([one.key for one in keys]))

    def keep(self, path: Path, keys: Sequence[SigningKey]) -> None:
        """Put these into the file at `path`, whole and durable, and use them from now on."""
        replace_private(path, _written(keys))
        self.hold(keys)

    @classmethod
    def load_or_create(cls, path: Path, now: datetime | None = None) -> "KeyRing":
        """The ring in the file at `path` (a JWK set); a new one with one key, made `now`, if there is no file.

        The file appears whole or not at all, mode 600, and of several first starts at once one wins. A file that
        cannot be read back raises `StoreUnavailable`: it is never replaced, because that would void every key ever
        given.
        """
        try:
            return cls._load(path)
        except FileNotFoundError:
            write_once(path, _written([SigningKey.generate(now or SystemClock().now())]))
        return cls._load(path)

    @classmethod
    def _load(cls, path: Path) -> "KeyRing":
        content = read_private(path)
        try:
            keys = [SigningKey.from_json(item) for item in json.loads(content)["keys"]]
        except (ValueError, KeyError, TypeError, OverflowError, JoseError) as exc:
            raise StoreUnavailable(f"The signing keys in {path} are damaged.", hint=_PUT_BACK, detail=str(exc)) from exc
        if not keys:
            raise StoreUnavailable(f"The signing keys in {path} are damaged.", hint=_PUT_BACK, detail="no key")
        return cls(keys)

    def sign(self, claims: Claims | Mapping[str, Any], audience: str) -> str:
        """A token with `claims` for `audience`. A mapping holds JWT claims as they are (`sub` and `iat` included);
        issuer and audience are set here in either case."""
        payload = claims.to_payload() if isinstance(claims, Claims) else dict(claims)
        payload |= {"iss": ISSUER, "aud": audience}
        key = self.held[0].key
        header = {"alg": ALGORITHM, "kid": key.kid}
        return jwt.encode(header, payload, key, registry=self._registry)

    def verify(self, token: str, audience: str, now: datetime) -> Claims:
        """The claims of `token`. Raises `Unauthenticated` unless it is signed by this ring with EdDSA, from this
        issuer, for this audience, with a subject, and not expired at `now`."""
        if len(token) > _TOKEN_CHARACTERS:
            raise Unauthenticated("The key is not one of this installation.", detail="token too long")
        try:
            payload = jwt.decode(token, self._held[1], registry=self._registry).claims
        except (JoseError, ValueError, TypeError, KeyError) as exc:
            raise Unauthenticated("The key is not one of this installation.", detail=str(exc)) from exc
        if payload.get("iss") != ISSUER or payload.get("aud") != audience:
            found = f"iss {payload.get('iss')!r}, aud {payload.get('aud')!r}, wanted {audience!r}"
            raise Unauthenticated("The key is not meant for this use.", detail=found)
        try:
            claims = Claims.from_payload(payload)
        except (KeyError, ValueError, TypeError, OverflowError) as exc:
            raise Unauthenticated("The key's claims are not complete.", detail=str(exc)) from exc
        if claims.expires_at is not None and claims.expires_at <= now:
            raise Unauthenticated("The key has expired.", detail=f"{claims.sub} {claims.jti}")
        return claims

    def derive(self, purpose: str) -> str:
        """A secret of 64 hexadecimal digits for `purpose`: the same each time, told by nothing but the signing key,
        and no help in finding it. It changes when another key becomes the first."""
        return _derived(self.held[0], purpose)

    def derives(self, purpose: str, secret: str) -> bool:
        """Whether `secret` is what `derive` told under a key that is here still."""
        known = [_derived(one, purpose) for one in self.held]
        return any([hmac.compare_digest(one.encode(), secret.encode()) for one in known])

    def public_jwks(self) -> dict[str, Any]:
        """The public halves as a JWK set, for Envoy and `/.well-known/jwks.json`."""
        return dict(self._held[1].as_dict(private=False))


def kid_of(token: str) -> str:
    """Which key a token says that it is signed with; empty where it says none. Verifies nothing."""
    try:
        header = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
        return str(header["kid"])
    except (ValueError, KeyError, TypeError):
        return ""


def _written(keys: Sequence[SigningKey]) -> bytes:
    return json.dumps({"keys": [one.to_json() for one in keys]}).encode()


def _derived(one: SigningKey, purpose: str) -> str:
    private = str(one.key.as_dict(private=True)["d"])
    root = hmac.digest(private.encode(), b"homeport: root of derived secrets", hashlib.sha256)
    return hmac.digest(root, purpose.encode(), hashlib.sha256).hex()


class _OnlyEdDSA(JWSRegistry):
    """The registry of the one algorithm that we sign and accept: a token cannot choose another."""

    def get_alg(self, name: str) -> Any:
        if name != ALGORITHM:
            raise UnsupportedAlgorithmError(f"algorithm {name!r} is not accepted")
        return self.algorithms[name]


def _moment(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a time: {value!r}")
    return datetime.fromtimestamp(value, UTC)
