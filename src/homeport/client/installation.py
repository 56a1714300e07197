"""Finding the installation to talk to: flags, then BL_API_URL, BL_API_KEY and BL_WORKSPACE, then a data directory.

Called by the command line; a program that knows its address and key builds `Homeport` by itself. Reads two files that
`up` and the server write, `up.json` and `admin-key`, and never writes.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.client.errors import Unreachable
from homeport.core.errors import Unauthenticated
from homeport.settings import DataDir, default_data

API_PREFIX = "/v0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where one Homeport is. url: without `/v0` and without a slash at its end. data: the directory that told, None
    when the environment did."""

    url: str
    key: str
    workspace: str
    data: DataDir | None = None


def find_installation(data: Path | None = None, *, workspace: str | None = None) -> Installation:
    """The installation that the caller means. An explicit `data` wins over the environment, which wins over
    HOMEPORT_DATA and the default directory. Raises `Unreachable` when nothing was ever started there,
    `Unauthenticated` when its key cannot be read."""
    environment = os.environ
    if data is None and (api := environment.get("BL_API_URL")):
        key = environment.get("BL_API_KEY") or _key(DataDir(default_data()))
        chosen = workspace or environment.get("BL_WORKSPACE") or "default"
        return Installation(url=api.rstrip("/").removesuffix(API_PREFIX), key=key, workspace=chosen)
    directory = DataDir((data or default_data()).absolute())
    state = read_up(directory)
    url = state.get("url")
    if not isinstance(url, str):
        raise Unreachable(f"Homeport was never started with {directory.root}.", hint=start_hint(directory))
    # The key in the environment belongs to the environment's URL; a named directory brings its own.
    key = (environment.get("BL_API_KEY") if data is None else None) or _key(directory)
    known = environment.get("BL_WORKSPACE") if data is None else None
    return Installation(
        url=url, key=key, workspace=workspace or known or str(state.get("workspace", "default")), data=directory
    )


def read_up(directory: DataDir) -> dict[str, Any]:
    """What `up` wrote there; empty when it never ran or may not be read."""
    try:
        state = json.loads(directory.state.read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def start_hint(directory: DataDir | None) -> str:
    """The command that starts it."""
    if directory is None:
        return "Start it with `homeport up`, or correct BL_API_URL."
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
