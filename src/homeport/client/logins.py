"""The installations that a person has logged in to: address, workspace and key of each, and which one is current.

Written by `homeport login` and `logout` only; read wherever an installation is looked for. One JSON file of mode 600
below the XDG configuration directory. It is replaced whole, so that a reader never sees half of it.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from homeport.core.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One installation. url: without `/v0` and without a slash at its end."""

    url: str
    workspace: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """All of them by name. current: the name that commands use, empty when there is none."""

    current: str = ""
    known: Mapping[str, Login] = field(default_factory=dict)

    @property
    def chosen(self) -> Login | None:
        return self.known.get(self.current)

    def with_login(self, name: str, login: Login) -> "Logins":
        """`name` added or replaced, and current."""
        return Logins(current=name, known={**self.known, name: login})

    def without(self, name: str) -> "Logins":
        """`name` forgotten. When it was the current one, none is."""
        rest = {known: login for known, login in self.known.items() if known != name}
        return Logins(current="" if name == self.current else self.current, known=rest)


def logins_file() -> Path:
    """Where they are kept: $XDG_CONFIG_HOME/homeport/logins.json, by default below ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    root = Path(base) if base.startswith("/") else Path.home() / ".config"
    return root / "homeport" / "logins.json"


def read_logins() -> Logins:
    """What is stored; nothing where there is no file. Raises `Invalid` for a file that was damaged."""
    path = logins_file()
    try:
        stored = json.loads(path.read_text())
        known = {str(name): _login(entry) for name, entry in stored["logins"].items()}
        return Logins(current=str(stored["current"]), known=known)
    except (FileNotFoundError, NotADirectoryError):
        return Logins()
    except PermissionError as exc:
        raise Invalid(str(path), "is not yours to read", hint="Logins are kept for each user by themselves.") from exc
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        hint = "Remove the file and log in again with `homeport login URL`."
        raise Invalid(str(path), "is not what `homeport login` wrote", hint=hint) from exc


def write_logins(logins: Logins) -> None:
    """Replace what is stored. Raises `Invalid` when the place cannot be written."""
    path = logins_file()
    stored = {"current": logins.current, "logins": {name: asdict(login) for name, login in logins.known.items()}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A temporary file is made with mode 600: the keys are never readable by others, not even for a moment.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".logins-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(stored, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as exc:
        raise Invalid(str(path), f"cannot be written: {exc.strerror}") from exc


def _login(entry: Mapping[str, object]) -> Login:
    return Login(url=str(entry["url"]), workspace=str(entry["workspace"]), key=str(entry["key"]))
