"""The Python that sandboxes run: the one that runs this server, shown read-only at its own path.

Called by the builder. A virtual environment refers to its interpreter by path, so the path is the same in the build,
in the bundle and in every replica. No interpreter is ever downloaded.
"""

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from homeport.core.errors import Internal, Invalid
from homeport.core.units import Mount

_CLAUSE = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*v?(\d+(?:\.\d+)*)(\.\*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """path: the executable, on the host and in the sandbox. version: such as "3.11.7". mounts: what shows it."""

    path: str
    version: str
    mounts: tuple[Mount, ...]

    @property
    def identity(self) -> str:
        """Bundles that were built with the same identity fit the same machines."""
        return f"{self.path} {self.version} {platform.machine()}"


def interpreter() -> Interpreter:
    """The server's own base interpreter. Raises `Internal` where its executable cannot be found."""
    prefix = Path(sys.base_prefix).resolve()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    path = prefix / "bin" / name
    if not path.exists():
        raise Internal(detail=f"no {name} in {prefix}/bin, the base prefix of the running interpreter")
    below_usr = prefix.is_relative_to("/usr")  # every sandbox is shown /usr
    mounts = () if below_usr else (Mount(source=str(prefix), target=str(prefix)),)
    return Interpreter(path=str(path), version=platform.python_version(), mounts=mounts)


def check_requires_python(specifier: str | None, version: str) -> None:
    """Raise `Invalid`, naming both, where `version` does not satisfy `requires-python`. Releases are compared;
    clauses that name pre-releases or are not understood are left to uv, which checks them again."""
    for clause in (specifier or "").split(","):
        match = _CLAUSE.fullmatch(clause.strip())
        if match and not _satisfies(_release(version), match[1], _release(match[2]), bool(match[3])):
            rule = f"asks for Python {specifier}, and this server builds with Python {version}"
            raise Invalid("pyproject.toml: project.requires-python", rule)


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _satisfies(version: tuple[int, ...], operator: str, wanted: tuple[int, ...], any_suffix: bool) -> bool:
    if operator == "~=":
        return version >= wanted and version[: len(wanted) - 1] == wanted[:-1]
    if any_suffix:
        same = version[: len(wanted)] == wanted
        return same if operator == "==" else not same
    padded = wanted + (0,) * (len(version) - len(wanted))
    return {
        "==": version == padded,
        "!=": version != padded,
        "<=": version <= padded,
        ">=": version >= padded,
        "<": version < padded,
        ">": version > padded,
    }[operator]
