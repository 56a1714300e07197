"""Decides what a source is and how its program starts. Called by the builder, on the unpacked directory.

The order is the public CLI's: `[entrypoint] prod` first, else the language by its files, else the first of the
conventional entry files. It reads files and runs nothing.

Start commands are argument lists, run without a shell, as the public CLI does it. Where `$NAME` or `${NAME}` appears in
a command (above all $HOST and $PORT, which are known only when a replica starts) it becomes `sh -c 'exec …'`: the
variables are filled in by the sandbox's shell, nothing else is interpreted, and `exec` leaves no shell between the
driver's signals and the program.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from homeport.build.asgi import asgi_application, uses_package_imports
from homeport.build.manifest import FILE_NAME, Manifest
from homeport.build.npm import FILE_NAME as PACKAGE
from homeport.build.npm import read_package, start_of
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.packing import DEV_MARK

ENTRY_FILES = (
    "app.py",
    "main.py",
    "api.py",
    "app/main.py",
    "app/app.py",
    "app/api.py",
    "src/main.py",
    "src/app.py",
    "src/api.py",
)
_FILE_BYTES = 4 * 1024 * 1024  # a file of source code; what is larger is not searched for an application
_VARIABLE = re.compile(r"(\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\})")
_OPERATORS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """language: "python", "node", or "any" for a source that only has a start command. argv: the command, run in /app.

    served: the ASGI application that uvicorn serves, such as `main:app`; None where the program serves itself.
    why: one sentence for the log.
    """

    language: str
    argv: tuple[str, ...]
    why: str
    served: str | None = None


def detect(app: Path, manifest: Manifest, kind: Kind) -> Program:
    """How the program in `app` starts. Raises `Invalid` for a source that this version cannot build or start."""
    language = _language(app)
    if language == "go":
        raise Invalid("source", "this version builds Python and Node.js sources, and go.mod says that this is a Go one")
    command, which = manifest.entrypoint_prod, "prod"
    if manifest.entrypoint_dev is not None and (app / DEV_MARK).is_file():
        command, which = manifest.entrypoint_dev, "dev"
    if command is not None:
        argv = split_command(command, which)
        return Program(language=language or "any", argv=argv, why=f"[entrypoint] {which} of {FILE_NAME}")
    if language == "node":
        argv, why = start_of(read_package(app), app)
        return Program(language=language, argv=argv, why=why)
    entry = _entry_file(app)
    if entry is None:
        raise _nothing_to_start(app)
    served = _served(app, entry) if kind is not Kind.JOB else None
    if served is None:
        return Program(language="python", argv=("python", entry), why=f"{entry} is the program")
    return Program(
        language="python",
        argv=served.argv,
        why=f"{entry} defines the ASGI application {served.name}",
        served=served.name,
    )


def split_command(command: str, which: str = "prod") -> tuple[str, ...]:
    """The words of `[entrypoint]`'s command for `which`. Raises `Invalid` where it needs a shell."""
    field = f"{FILE_NAME}: entrypoint.{which}"
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise Invalid(field, f"must be a command with balanced quotes: {exc}", value=command) from exc
    if not words:
        raise Invalid(field, "must be a command", value=command)
    if operators := _OPERATORS.intersection(words):
        shown = " ".join(sorted(operators))
        hint = "Put the commands into a script, or write: sh -c '…'"
        raise Invalid(field, f"is run without a shell and cannot use {shown}", value=command, hint=hint)
    is_shell = len(words) > 2 and words[0].rpartition("/")[2] in ("sh", "bash") and words[1] == "-c"
    if is_shell or not any(_VARIABLE.search(word) for word in words):
        return tuple(words)
    return ("sh", "-c", "exec " + " ".join(_shell_word(word) for word in words))


def _shell_word(word: str) -> str:
    """`word` for a shell that fills in its variables and interprets nothing else."""
    parts = _VARIABLE.split(word)  # odd positions are variables
    return "".join(f'"{part}"' if at % 2 else shlex.quote(part) for at, part in enumerate(parts) if part) or "''"


def _language(app: Path) -> str | None:
    def has(*names: str) -> bool:
        return any((app / name).is_file() for name in names)

    if has("pyproject.toml", "requirements.txt"):
        return "python"
    if has(PACKAGE):
        return "node"
    if has("go.mod"):
        return "go"
    return "python" if _entry_file(app) else None


def _entry_file(app: Path) -> str | None:
    return next((name for name in ENTRY_FILES if (app / name).is_file()), None)


def _nothing_to_start(app: Path) -> Invalid:
    rule = f"must hold {PACKAGE}, one of {', '.join(ENTRY_FILES)}, or {FILE_NAME} with [entrypoint] prod"
    return Invalid("source", rule, hint='Add the start command: [entrypoint] prod = "python server.py"')


@dataclass(frozen=True, slots=True)
class _Served:
    name: str
    argv: tuple[str, ...]


def _served(app: Path, entry: str) -> _Served | None:
    """How uvicorn serves the application in `entry`, a path below `app`; None where the file holds none."""
    path = app / entry
    if path.stat().st_size > _FILE_BYTES:
        return None
    source = path.read_text(encoding="utf-8", errors="replace")
    name = asgi_application(source)
    if name is None:
        return None
    folder, _, file = entry.rpartition("/")
    stem = file.removesuffix(".py")
    command = "exec uvicorn"
    if folder and uses_package_imports(source, folder):
        stem = f"{folder}.{stem}"
    elif folder:  # as `python folder/file.py` would have it: the file's neighbours are importable
        command += f" --app-dir {folder}"
    target = f"{stem}:{name}"
    return _Served(name=target, argv=("sh", "-c", f'{command} {target} --host "$HOST" --port "$PORT"'))
