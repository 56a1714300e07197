"""From an archive to a directory in which the build's unit may work, and the plan that it follows. Called by the
builder, in a thread; it starts nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from homeport.build.archive import Unpacked, UnpackLimits, unpack
from homeport.build.bundle import remove_tree
from homeport.build.dependencies import Dependencies, find_dependencies
from homeport.build.detect import Program, detect
from homeport.build.interpreter import check_requires_python
from homeport.build.manifest import FILE_NAME, Manifest, read_manifest
from homeport.build.node import Node, check_engines, find_node
from homeport.build.npm import Package, read_package
from homeport.build.recipe import Plan
from homeport.build.toolchain import Toolchain
from homeport.core.errors import Invalid
from homeport.core.ids import Kind

ARGUMENTS = ".env.build"  # secrets of the build: given to it as variables, never part of a bundle
SECRETS = (ARGUMENTS, ".docker")  # .docker holds credentials of image registries
_ARGUMENTS_BYTES = 1024 * 1024
_UNREAD = (
    "Dockerfile",
    "Pipfile",
    "environment.yml",
    "setup.py",
    "package.json",
)  # named in the log where they are not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """manifest_toml: the text of blaxel.toml, empty where there is none. build_args: variables for the build only."""

    plan: Plan
    manifest_toml: str
    build_args: dict[str, str]


def prepare(archive: Path, app: Path, kind: Kind, tools: Toolchain, limits: UnpackLimits) -> Prepared:
    """Unpack `archive` into `app` and plan its build. Raises `Invalid` for a source that breaks a rule."""
    unpacked = unpack(archive, app, limits)
    secrets = take_arguments(app)
    manifest = read_manifest(app)
    program = detect(app, manifest, kind)
    node = _node(app) if program.language == "node" else None
    dependencies = find_dependencies(app) if node is None else Dependencies(installs=(), names=frozenset())
    check_requires_python(dependencies.requires_python, tools.python.version)
    plan = Plan(
        interpreter=tools.python,
        dependencies=dependencies,
        program=program,
        notes=_notes(app, unpacked, manifest, program),
        uv_arguments=tools.registry.arguments,
        node=node,
    )
    text = (app / FILE_NAME).read_text(encoding="utf-8") if (app / FILE_NAME).is_file() else ""
    return Prepared(plan=plan, manifest_toml=text, build_args={**manifest.build_args, **secrets})


def _node(app: Path) -> tuple[Node, Package]:
    node, package = find_node(), read_package(app)
    check_engines(package.engines, node.version)
    return node, package


def take_arguments(app: Path) -> dict[str, str]:
    """The variables of `.env.build`; removes that file and other secrets that only a build may see."""
    path = app / ARGUMENTS
    values: dict[str, str] = {}
    if path.is_file():
        if path.stat().st_size > _ARGUMENTS_BYTES:
            raise Invalid(ARGUMENTS, f"may have {_ARGUMENTS_BYTES} bytes at most", value=path.stat().st_size)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and name.strip().isidentifier():
                values[name.strip()] = _unquoted(value.strip())
    for name in SECRETS:
        remove_tree(app / name)
    return values


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _notes(app: Path, unpacked: Unpacked, manifest: Manifest, program: Program) -> tuple[str, ...]:
    """What happened so far, for the log."""
    notes = [f"Unpacked {unpacked.files} files ({_size(unpacked.content_bytes)})"]
    notes.append(f"Start command: {' '.join(program.argv)} ({program.why})")
    if manifest.unknown:
        notes.append(f"Ignored in {FILE_NAME}: {', '.join(manifest.unknown)}")
    is_read = {"setup.py": (app / "pyproject.toml").is_file(), "package.json": program.language == "node"}
    if unread := [name for name in _UNREAD if (app / name).is_file() and not is_read.get(name)]:
        notes.append(f"Not used by this build: {', '.join(unread)}")
    return tuple(notes)


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.0f} KB" if count < 1024 * 1024 else f"{count / (1024 * 1024):.1f} MB"
