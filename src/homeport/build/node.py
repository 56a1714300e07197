"""The Node.js that builds and programs use: the machine's own, shown read-only. Called by the builder and by `doctor`.

None is ever downloaded. What stands below /usr is shown in every sandbox at its own place; any other is shown at
`SHOWN`, which every PATH names.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.units import Mount

SHOWN = "/homeport/node"
OLDEST = (18,)  # the public TypeScript SDK needs it
_ASK = "JSON.stringify([process.execPath, process.versions.node])"
_ASK_TIMEOUT_S = 20.0  # it takes 50 ms, on a loaded machine more
_COMPARATOR = re.compile(r"(\^|~|>=|<=|>|<|=)?\s*v?(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """version: such as "20.11.1". mounts: what shows it in a sandbox."""

    path: str
    version: str
    mounts: tuple[Mount, ...]


def node_identity() -> str:
    """Changes when the machine's Node.js does; empty where there is none. Starts nothing."""
    found = shutil.which("node")
    if found is None:
        return ""
    real = Path(found).resolve()
    return f"{real} {real.stat().st_mtime_ns}"


def find_node() -> Node:
    """The `node` of this process's PATH, with the `npm` beside it. Raises `Invalid` where there is none that this
    version can use."""
    found = shutil.which("node")
    if found is None:
        raise _unusable("has no Node.js (no `node` on its PATH)")
    try:
        asked = subprocess.run(
            [found, "-p", _ASK], capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True, env=_clean()
        )
        path, version = json.loads(asked.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        raise _unusable(f"has a Node.js that does not run ({found}: {exc})") from exc
    if release(version) < OLDEST:
        raise _unusable(f"has Node.js {version}, which is too old: {OLDEST[0]} is the oldest that is used")
    prefix = Path(path).resolve().parents[1]
    if not (prefix / "bin/npm").exists():
        raise _unusable(f"has Node.js {version} without npm (no {prefix}/bin/npm)")
    below_usr = prefix.is_relative_to("/usr")
    return Node(path=path, version=version, mounts=() if below_usr else (Mount(source=str(prefix), target=SHOWN),))


def _clean() -> dict[str, str]:
    """Without options that change what node does."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}


def _unusable(why: str) -> Invalid:
    hint = f"The operator installs Node.js {OLDEST[0]} or later with npm, and starts Homeport again."
    return Invalid("source", f"is a Node.js program, and this machine {why}", hint=hint)


def release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def check_engines(wanted: str | None, version: str) -> None:
    """Raise `Invalid`, naming both, where `version` does not satisfy `engines.node`. A range that is not understood is
    left to npm, which warns."""
    if not wanted or wanted.strip() in ("", "*", "x"):
        return
    results = [_alternative(part, release(version)) for part in wanted.split("||")]
    if not any(result in (True, None) for result in results):
        raise Invalid("package.json: engines.node", f"asks for Node.js {wanted}, and this machine has {version}")


def _alternative(text: str, version: tuple[int, ...]) -> bool | None:
    """Whether `version` satisfies all comparators of `text`; None where they are not understood."""
    rest = _COMPARATOR.sub("", text)
    if rest.strip():
        return None
    return all(_satisfies(match, version) for match in _COMPARATOR.finditer(text))


def _satisfies(match: re.Match[str], version: tuple[int, ...]) -> bool:
    given = tuple(int(part) for part in match.groups()[1:] if part and part.isdigit())
    full = given + (0,) * (3 - len(given))
    same = {"^": 1 if given[0] else 2, "~": min(len(given), 2), None: len(given), "=": len(given)}
    operator = match[1]
    if operator in same:
        count = same[operator]
        return version[:count] == full[:count] and (operator in (None, "=") or version >= full)
    beyond = version[: len(given)] > given
    return {
        ">=": version >= full,
        "<": version < full,
        ">": beyond,
        "<=": not beyond,
    }[str(operator)]
