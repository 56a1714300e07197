"""Logins of image registries, as Docker's clients write them, and for which registry one is. Looks nothing up.

A message never repeats what was sent, but for the name of a registry that is well formed.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.spec import read_object

FIELD = "spec.runtime.dockerConfig"
HUB = "docker.io"
CONFIG_BYTES = 64 * 1024  # a login of the clouds' registries has 2 to 3 KB
RULE = 'must be JSON of the form {"auths": {REGISTRY: {"auth": base64 of USER:PASSWORD}}}'
_HUB_HOSTS = ("index.docker.io", "registry-1.docker.io")
_HOST = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_HELPERS = ("credsStore", "credHelpers")
_TOKENS = ("identitytoken", "registrytoken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """`fields` as the engines' API takes them: username and password, or a token. source: where it was given, for
    people."""

    source: str
    fields: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Logins:
    """Each for one registry, by its host and port; Docker's hub is `docker.io`."""

    known: Mapping[str, Login] = field(default_factory=dict)

    def of(self, registry: str) -> Login | None:
        return self.known.get(registry)

    def over(self, other: "Logins") -> "Logins":
        """These, and those of `other` for registries that these do not name."""
        return Logins({**other.known, **self.known})


def registry_host(text: str) -> str | None:
    """The registry that a key of Docker's configuration or the begin of an image's name means: without scheme and path,
    whatever Docker's hub is called. None for what names none."""
    host = re.sub(r"^https?://", "", text.strip().lower()).partition("/")[0]
    if host in _HUB_HOSTS:
        return HUB
    return host if _HOST.fullmatch(host) else None


def read_docker_config(spec: Mapping[str, Any]) -> Logins:
    """`runtime.dockerConfig`, in plain. Raises `Invalid`."""
    text = read_object(spec, "runtime", "spec.runtime").get("dockerConfig")
    if text is None or text == "":
        return Logins()
    if not isinstance(text, str):
        raise Invalid(FIELD, f"{RULE}, as a string")
    return parse_docker_config(text, FIELD, source="runtime.dockerConfig")


def parse_docker_config(text: str, at: str, source: str) -> Logins:
    """The logins in Docker's config.json. `at` is where it stands, for the error; `source` the same, for events. Raises
    `Invalid` for what holds no logins that could be used here."""
    if len(text.encode(errors="replace")) > CONFIG_BYTES:
        raise Invalid(at, f"must have at most {CONFIG_BYTES} bytes")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(at, RULE) from None  # the error holds the text
    if not isinstance(config, dict):
        raise Invalid(at, RULE)
    if helper := next((key for key in _HELPERS if config.get(key)), None):
        rule = f"must not name a program that keeps logins ({helper}): it is not on this machine"
        raise Invalid(at, rule, hint='Put the login itself below "auths".')
    auths = config.get("auths") if config else {}
    if not isinstance(auths, dict):
        raise Invalid(at, RULE)
    found: dict[str, Login] = {}
    for key, entry in auths.items():
        host = registry_host(key)
        if host is None:
            raise Invalid(at, 'must name registries below "auths", such as ghcr.io or 127.0.0.1:5000')
        if host not in found or key == host:  # the plain name wins over addresses that mean the same
            found[host] = Login(source=source, fields=_fields(entry, host, at))
    return Logins(found)


def _fields(entry: object, host: str, at: str) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise Invalid(at, f"{RULE}; the entry for {host} has another form")
    fields = {key: entry[key] for key in _TOKENS if entry.get(key)}
    if entry.get("auth"):
        fields |= _decoded(entry["auth"], host, at)
    elif entry.get("username"):
        fields |= {"username": entry["username"], "password": entry.get("password", "")}
    if not fields:
        raise Invalid(at, f"holds no login for {host}: neither auth, nor username and password, nor identitytoken")
    return fields


def _decoded(auth: str, host: str, at: str) -> dict[str, str]:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except ValueError:
        raise Invalid(at, f"must have base64 of USER:PASSWORD in auth; that of {host} is no base64") from None
    if not colon or not user:
        raise Invalid(at, f"must have base64 of USER:PASSWORD in auth; that of {host} lacks the user or the colon")
    return {"username": user, "password": password.rstrip("\0")}  # old clients wrote a zero at the end
