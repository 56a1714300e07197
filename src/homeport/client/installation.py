"""Finding the installation to talk to: flags, then BL_API_URL or HOMEPORT_DATA, then a login, then the data directory.

Called by the command line; a program that knows its address and key builds `Homeport` by itself. Reads what `up`, the
server and `homeport login` wrote, and never writes.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from homeport.client.errors import Unreachable
from homeport.client.logins import Login, read_logins
from homeport.core.errors import Unauthenticated
from homeport.settings import DataDir, default_data

API_PREFIX = "/v0"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where one Homeport is. url: without `/v0` and without a slash at its end. source: what told, in words.
    start_hint: what to do when nothing answers there."""

    url: str
    key: str
    workspace: str
    source: str
    start_hint: str


def find_installation(data: Path | None = None, *, workspace: str | None = None) -> Installation:
    """The installation that the caller means: an explicit `data`, else BL_API_URL, else HOMEPORT_DATA, else the current
    login, else the default directory. `workspace` wins over BL_WORKSPACE, and that over what the place itself says.
    Raises `Unreachable` when nothing was ever started there, `Unauthenticated` when its key cannot be read."""
    if data is not None:
        return _of_directory(DataDir(data.absolute()), workspace, explicit=True)
    environment = os.environ
    if api := environment.get("BL_API_URL"):
        return _of_environment(api, workspace)
    login = None if environment.get("HOMEPORT_DATA") else read_logins().chosen
    if login is not None:
        return _of_login(login, workspace)
    return _of_directory(DataDir(default_data().absolute()), workspace, explicit=False)


def _of_environment(api: str, workspace: str | None) -> Installation:
    url = api.rstrip("/").removesuffix(API_PREFIX)
    key = os.environ.get("BL_API_KEY") or _key_for(url)
    chosen = workspace or os.environ.get("BL_WORKSPACE") or "default"
    hint = "Start it with `homeport up`, or correct BL_API_URL."
    return Installation(url=url, key=key, workspace=chosen, source="BL_API_URL", start_hint=hint)


def _key_for(url: str) -> str:
    """The key of an address that came without one: that of a login there, else that of this machine's directory, but
    only for an address on this machine: no other may be sent the administrator's key."""
    known = next((login for login in read_logins().known.values() if login.url == url), None)
    if known is not None:
        return known.key
    directory = DataDir(default_data())
    if urlsplit(url).hostname in LOOPBACK or read_up(directory).get("url") == url:
        return _key(directory)
    raise Unauthenticated(f"There is no key for {url}.", hint=f"Set BL_API_KEY, or run `homeport login {url}`.")


def _of_login(login: Login, workspace: str | None) -> Installation:
    chosen = workspace or os.environ.get("BL_WORKSPACE") or login.workspace
    key = os.environ.get("BL_API_KEY") or login.key
    hint = "Is it running? `homeport login URL` leads to another one, `homeport logout` back to this machine's."
    return Installation(url=login.url, key=key, workspace=chosen, source="homeport login", start_hint=hint)


def _of_directory(directory: DataDir, workspace: str | None, *, explicit: bool) -> Installation:
    state = read_up(directory)
    url = state.get("url")
    if not isinstance(url, str):
        elsewhere = "" if explicit else " For one elsewhere: `homeport login URL`."
        message = f"Homeport was never started with {directory.root}."
        raise Unreachable(message, hint=start_hint(directory) + elsewhere)
    # The environment's key and workspace belong to the environment's place; a named directory brings its own.
    key = (None if explicit else os.environ.get("BL_API_KEY")) or _key(directory)
    known = None if explicit else os.environ.get("BL_WORKSPACE")
    chosen = workspace or known or str(state.get("workspace", "default"))
    source = f"the data directory {directory.root}"
    return Installation(url=url, key=key, workspace=chosen, source=source, start_hint=start_hint(directory))


def read_up(directory: DataDir) -> dict[str, Any]:
    """What `up` wrote there; empty when it never ran or may not be read."""
    try:
        state = json.loads(directory.state.read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def start_hint(directory: DataDir) -> str:
    """The command that starts it."""
    option = "" if directory.root == default_data() else f" --data {directory.root}"
    return f"Start it with `homeport up{option}`."


def _key(directory: DataDir) -> str:
    try:
        return directory.admin_key.read_text().strip()
    except FileNotFoundError as exc:
        raise Unauthenticated(
            f"There is no key at {directory.admin_key}.", hint=f"{start_hint(directory)} The first start makes it."
        ) from exc
    except PermissionError as exc:
        hint = "Run this as the user that runs Homeport, or set BL_API_KEY."
        raise Unauthenticated(f"{directory.admin_key} is not yours to read.", hint=hint) from exc
