"""Seals text with AES-256-GCM under the keys of one file. Knows neither specs nor rows: what is
sealed and where it belongs is said by `homeport.sealing.specs` and by the use cases.

A token is `hs1.KEY-ID.BASE64URL(nonce + ciphertext)`. It opens only at the place it was sealed for: the place and the
key's id are authenticated with it, so that a token that was moved to another workload or field is no token there.
"""

import base64
import binascii
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from homeport.core.errors import Internal, StoreUnavailable
from homeport.core.private import read_private, replace_private, write_once

_VERSION = "hs1"
_KEY_BYTES = 32
_NONCE_BYTES = 12  # random: the chance that two of 2^32 seals under one key share one is below 2^-32
PLAIN_BYTES = 92 * 1024  # most of one secret, so that its token still fits where a variable's value may stand

_PUT_BACK = "Put it back from the backup that belongs to this database."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret belongs. `owner` is the uid of a workload, the id of an execution, or the word `secrets` for
    stored ones; `field` is the path in it."""

    workspace: str
    owner: str
    field: str


class SealingKeys:
    """The keys of one installation. The first seals; every one opens."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        """`keys` by their ids, in order, at least one."""
        self.first = ""
        self._hold(keys)

    def _hold(self, keys: dict[str, bytes]) -> None:
        # The ciphers before the word which of them seals: another thread may be about to seal.
        self._ciphers = {ident: AESGCM(key) for ident, key in keys.items()}
        self._keys = keys
        self.first = next(iter(keys))

    def adopt(self, others: "SealingKeys") -> None:
        """Seal with the first of `others` from now on, and open with all of them. Nothing that is sealed is lost:
        raises `Internal` if a key of ours is not among them."""
        if not self._keys.keys() <= others._keys.keys():
            raise Internal(detail="a sealing key would be given up that is in use")
        self._hold(others._keys)

    @classmethod
    def generate(cls) -> "SealingKeys":
        """One new key, which exists in memory only until `save`."""
        key = os.urandom(_KEY_BYTES)
        return cls({key_id(key): key})

    @classmethod
    def load(cls, path: Path) -> "SealingKeys | None":
        """The keys in the file at `path`, None if there is none. Raises `StoreUnavailable` for a file that cannot be
        read back, which is left alone: what it sealed opens with nothing else."""
        try:
            content = read_private(path)
        except FileNotFoundError:
            return None
        try:
            keys = {item["id"]: base64.b64decode(item["key"], validate=True) for item in json.loads(content)["keys"]}
            whole = bool(keys) and all(len(key) == _KEY_BYTES and key_id(key) == ident for ident, key in keys.items())
        except (ValueError, TypeError, KeyError, binascii.Error):
            whole = False
        if not whole:
            raise StoreUnavailable(f"The sealing keys in {path} are damaged.", hint=_PUT_BACK)
        return cls(keys)

    def save(self, path: Path) -> None:
        """Write the keys, whole, durable and mode 600. Raises `Internal` if other keys stand there."""
        write_once(path, self._written())
        found = SealingKeys.load(path)
        if found is None or found.ids != self.ids:
            raise Internal(detail=f"{path} was made by somebody else at the same moment")

    def rotate(self, path: Path) -> "SealingKeys":
        """The keys with a new one in front, in the file, too. These go on as they are until they `adopt` it, or until
        the next start."""
        new = os.urandom(_KEY_BYTES)
        rotated = SealingKeys({key_id(new): new, **self._keys})
        replace_private(path, rotated._written())
        return rotated

    def keep_first(self, path: Path) -> None:
        """Let go of all but the first key, in the file, too. The caller knows that nothing is sealed by the others."""
        kept = {self.first: self._keys[self.first]}
        replace_private(path, SealingKeys(kept)._written())
        self._hold(kept)

    def _written(self) -> bytes:
        items = [{"id": ident, "key": base64.b64encode(key).decode()} for ident, key in self._keys.items()]
        return json.dumps({"keys": items}).encode() + b"\n"

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def seal(self, text: str, place: Place) -> str:
        """`text` as a token for `place`; a new one each time."""
        first, nonce = self.first, os.urandom(_NONCE_BYTES)
        plain = text.encode(errors="surrogatepass")
        sealed = self._ciphers[first].encrypt(nonce, plain, _bound(first, place))
        return f"{mark_of(first)}{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, token: str, place: Place) -> str:
        """The text of `token`. Raises `Internal`, which names the place and never a value, for a token that was
        changed, that belongs elsewhere, or whose key is not here."""
        version, _, rest = token.partition(".")
        ident, _, encoded = rest.partition(".")
        where = f"the secret {place.field} of {place.owner} in workspace {place.workspace}"
        cipher = self._ciphers.get(ident) if version == _VERSION else None
        if cipher is None:
            raise Internal(detail=f"{where} is not sealed by a key of this installation")
        try:
            content = base64.b64decode(encoded.encode(), altchars=b"-_", validate=True)
            plain = cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], _bound(ident, place))
        except (InvalidTag, ValueError) as error:
            raise Internal(detail=f"{where} was changed, or belongs elsewhere") from error
        return plain.decode(errors="surrogatepass")

    def seal_bytes(self, content: bytes, place: Place) -> bytes:
        """`content` as bytes that open at `place` only: a token without the detour over text, for bodies."""
        first, nonce = self.first, os.urandom(_NONCE_BYTES)
        return mark_of(first).encode() + nonce + self._ciphers[first].encrypt(nonce, content, _bound(first, place))

    def open_bytes(self, sealed: bytes, place: Place) -> bytes:
        """What `seal_bytes` sealed. Raises `Internal` as `open`."""
        version, _, rest = sealed.partition(b".")
        ident, _, content = rest.partition(b".")
        name = ident.decode(errors="replace")
        cipher = self._ciphers.get(name) if version == _VERSION.encode() else None
        where = f"{place.field} of {place.owner} in workspace {place.workspace}"
        if cipher is None:
            raise Internal(detail=f"{where} is not sealed by a key of this installation")
        try:
            return cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], _bound(name, place))
        except (InvalidTag, ValueError) as error:
            raise Internal(detail=f"{where} was changed, or belongs elsewhere") from error

    def reseal(self, token: str, place: Place) -> str:
        """The token under the first key; the same if it is."""
        return token if token.startswith(mark_of(self.first)) else self.seal(self.open(token, place), place)

    def reseal_bytes(self, sealed: bytes, place: Place) -> bytes:
        """As `reseal`."""
        own = sealed.startswith(mark_of(self.first).encode())
        return sealed if own else self.seal_bytes(self.open_bytes(sealed, place), place)


def mark_of(ident: str) -> str:
    """With what everything begins that the key of this id has sealed."""
    return f"{_VERSION}.{ident}."


def key_id(key: bytes) -> str:
    """Derived from the key, so that a damaged one is noticed; tells nothing of it."""
    return "k" + hashlib.sha256(b"homeport: id of a sealing key" + key).hexdigest()[:10]


def _bound(ident: str, place: Place) -> bytes:
    """What is authenticated with a ciphertext; unambiguous whatever the parts hold."""
    return json.dumps([_VERSION, ident, place.workspace, place.owner, place.field]).encode()
