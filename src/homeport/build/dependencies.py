"""What a Python source depends on, and the uv commands that install it. Pure but for reading the unpacked source.

Called by the builder's recipe. uv itself resolves; this module only chooses which files it is given and counts what
they name, so that the log can say so.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.core.errors import Invalid

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_INCLUDE = re.compile(r"\s*(?:-r|--requirement)[ =]?\s*(\S+)")
_FILE_BYTES = 4 * 1024 * 1024  # a lock file of a thousand packages has two megabytes
_INCLUDED_FILES = 20  # requirement files that include one another


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """One command of uv, with the title of its step in the log. argv: without `uv` itself."""

    title: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """names: normalised names of the packages that the source asks for. requires_python: as pyproject.toml has it."""

    installs: tuple[Install, ...]
    names: frozenset[str]
    requires_python: str | None = None


def find_dependencies(app: Path) -> Dependencies:
    """How to install what the source in `app` needs.

    `uv.lock` is installed as it is. Otherwise `requirements.txt` and the dependencies of `pyproject.toml` are
    resolved together; a project with a build system is installed as well (editable, since it stays at /app), as uv
    itself does. Raises `Invalid` for files that cannot be read.
    """
    project = _read_toml(app / "pyproject.toml")
    table = project.get("project", {})
    if not isinstance(table, dict):
        raise Invalid("pyproject.toml: project", "must be a table", value=table)
    requires = table.get("requires-python")
    requires_python = requires if isinstance(requires, str) else None
    if project and (app / "uv.lock").is_file():
        names = _locked_names(app / "uv.lock")
        title = f"Installing dependencies from uv.lock ({_packages(len(names))})"
        install = Install(title=title, argv=("sync", "--frozen", "--no-dev"))
        return Dependencies(installs=(install,), names=names, requires_python=requires_python)
    installs, names = _resolved(app, project, table)
    return Dependencies(installs=installs, names=names, requires_python=requires_python)


def _resolved(app: Path, project: dict[str, Any], table: dict[str, Any]) -> tuple[tuple[Install, ...], frozenset[str]]:
    files: list[str] = []
    argv: list[str] = []
    names: set[str] = set()
    if (app / "requirements.txt").is_file():
        files.append("requirements.txt")
        argv += ["-r", "requirements.txt"]
        names |= _required_names(app, "requirements.txt", set())
    if "build-system" in project:
        files.append("pyproject.toml")
        argv += ["-e", "."]
        names |= _declared_names(table)
    elif _declared_names(table) or "dependencies" in table.get("dynamic", ()):
        files.append("pyproject.toml")
        argv += ["-r", "pyproject.toml"]
        names |= _declared_names(table)
    if not files:
        return (), frozenset()
    title = f"Installing dependencies from {' and '.join(files)} ({_packages(len(names))})"
    return (Install(title=title, argv=("pip", "install", *argv)),), frozenset(names)


def _packages(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"


def normalised(name: str) -> str:
    """A distribution's name in the form in which two names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared_names(table: dict[str, Any]) -> set[str]:
    declared = table.get("dependencies", [])
    if not isinstance(declared, list):
        raise Invalid("pyproject.toml: project.dependencies", "must be a list of strings", value=declared)
    return {normalised(match[1]) for item in declared if isinstance(item, str) and (match := _NAME.match(item))}


def _locked_names(lock: Path) -> frozenset[str]:
    packages = _read_toml(lock).get("package", [])
    if not isinstance(packages, list):
        raise Invalid("uv.lock: package", "must be a list of tables")
    names = (package.get("name") for package in packages if isinstance(package, dict) and not _is_local(package))
    return frozenset(normalised(name) for name in names if isinstance(name, str))


def _is_local(package: dict[str, Any]) -> bool:
    """Whether this is the project itself, which its own lock file lists too."""
    source = package.get("source")
    return isinstance(source, dict) and ("editable" in source or "virtual" in source)


def _required_names(app: Path, name: str, seen: set[str]) -> set[str]:
    """The packages that a requirements file names, files that it includes counted in where they are in the source."""
    path = (app / name).resolve()
    if name in seen or len(seen) >= _INCLUDED_FILES or not path.is_relative_to(app.resolve()) or not path.is_file():
        return set()
    seen.add(name)
    names: set[str] = set()
    for line in _read(path).replace("\\\n", " ").splitlines():
        if match := _INCLUDE.match(line):
            names |= _required_names(app, str(Path(name).parent / match[1]), seen)
        elif match := _NAME.match(line):
            names.add(normalised(match[1]))
    return names


def _read(path: Path) -> str:
    if path.stat().st_size > _FILE_BYTES:
        raise Invalid(path.name, f"may have {_FILE_BYTES} bytes at most", value=path.stat().st_size)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Invalid(path.name, "must be UTF-8 text") from exc


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(_read(path))
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise Invalid(path.name, f"must be valid TOML: {exc}") from exc
