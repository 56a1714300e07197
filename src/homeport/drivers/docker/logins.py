"""Logins as headers of the Docker Engine API. They are in no label, no argument and no file of the engine's."""

import base64
import json
from collections.abc import Mapping

from homeport.core.logins import HUB, Login, Logins

_HUB_KEY = "https://index.docker.io/v1/"  # what engines call Docker's hub among logins


def pull_header(login: Login | None, registry: str) -> dict[str, str]:
    """What goes with a pull from `registry`."""
    if login is None:
        return {}
    return {"X-Registry-Auth": _encoded({**login.fields, "serveraddress": registry})}


def build_header(logins: Logins) -> dict[str, str]:
    """What goes with a build, whose base images may come from several registries."""
    if not logins.known:
        return {}
    named = {_HUB_KEY if host == HUB else host: login.fields for host, login in logins.known.items()}
    return {"X-Registry-Config": _encoded({host: {**fields} for host, fields in named.items()})}


def _encoded(said: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
