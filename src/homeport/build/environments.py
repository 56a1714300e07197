"""The installed packages of an earlier build, taken over where nothing that says what to install has changed.

For sources of `homeport dev`, which are built again with each change; a deployment resolves anew. Called by the
builder.
"""

import hashlib
import json
import re
from pathlib import Path

from homeport.build.bundle import read_description
from homeport.build.recipe import RECIPE, Plan, install_scripts
from homeport.core.packing import DEV_MARK

_LOOKED_AT = 50  # of the newest bundles: somebody who develops has built a moment ago
_FILES = ("requirements.txt", "pyproject.toml", "uv.lock")
# A package by its name, with what belongs to it: neither an option, such as an included file, nor a path.
_BY_NAME = re.compile(r"[A-Za-z0-9][^/\\]*")


def environment_of(app: Path, plan: Plan, workspace: str) -> str:
    """By what the environment is known that the source in `app` leads to; empty where the program itself is part of it,
    or where it shall be made anew."""
    if plan.node or not plan.dependencies.installs or not (app / DEV_MARK).is_file():
        return ""
    if any("-e" in install.argv for install in plan.dependencies.installs):
        return ""
    texts = {name: (app / name).read_text() for name in _FILES if (app / name).is_file()}
    lines = (line.strip() for line in texts.get("requirements.txt", "").splitlines())
    if not all(_BY_NAME.fullmatch(line) for line in lines if line and not line.startswith("#")):
        return ""
    if "editable" in texts.get("uv.lock", ""):
        return ""
    parts = [RECIPE, workspace, plan.interpreter.identity, [*install_scripts(plan)], texts]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def find_environment(bundles: Path, environment: str) -> Path | None:
    """The program of a bundle that has this environment."""
    newest = sorted(bundles.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True) if environment else []
    for path in newest[:_LOOKED_AT]:
        described = read_description(path)
        if described is not None and described.environment == environment:
            return path / "app"
    return None
