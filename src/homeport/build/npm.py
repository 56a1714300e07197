"""A Node.js source: which package manager installs it, what builds it, what starts it. Called by `detect` and the
builder, on the unpacked directory; it reads package.json and starts nothing."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.core.errors import Invalid

FILE_NAME = "package.json"
ENTRY_FILES = tuple(
    f"{folder}{name}.js" for folder in ("dist/", "", "src/") for name in ("index", "app", "server")
)  # the order of the public CLI
_FILE_BYTES = 4 * 1024 * 1024
_STARTS = ("prod", "start")  # scripts that start the program, in this order
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "workspaces")
_UNREAD_LOCKS = ("yarn.lock", "bun.lock", "bun.lockb", "deno.lock")
_PNPM = {"5": "7.33.7", "6": "8.15.9", "9": "9.15.9"}  # a lock's major version → the newest pnpm that was tried on it
_COPIED = "--store-dir /cache/pnpm --package-import-method copy"  # no hard links, as with uv
_PINNED = re.compile(r"pnpm@(\d+\.\d+\.\d+)(?:[-+].*)?")
_FIRST_WORD = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*=\S*\s+)*(?:exec\s+)?([A-Za-z0-9_./@-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """scripts: of package.json. lock: the lock file's name, None where there is none. pnpm: the version of pnpm, None
    for npm. engines: what `engines.node` asks for."""

    scripts: Mapping[str, str]
    lock: str | None
    pnpm: str | None
    engines: str | None
    has_dependencies: bool

    @property
    def manager(self) -> str:
        return f"pnpm {self.pnpm}" if self.pnpm else "npm"

    @property
    def install(self) -> str | None:
        """The shell command that installs the packages; None where there are none."""
        if self.pnpm:
            return self._pnpm("CI=true", f"install --frozen-lockfile {_COPIED}")
        if self.lock:
            return "npm ci --include=dev"
        return "npm install --include=dev --no-package-lock" if self.has_dependencies else None

    @property
    def build(self) -> str | None:
        """The shell command of the build step; None where there is none."""
        if "build" not in self.scripts:
            return None
        return self._pnpm("", "run build") if self.pnpm else "npm run build"

    def _pnpm(self, before: str, words: str) -> str:
        return f"{before} npm exec --yes --prefer-offline --package=pnpm@{self.pnpm} -- pnpm {words}".strip()


def read_package(app: Path) -> Package:
    """What package.json and the lock file say. Raises `Invalid` for what cannot be read or is not installed here."""
    data = _read(app / FILE_NAME)
    scripts = _texts(data, "scripts")
    engines = _texts(data, "engines", strict=False).get("node")
    has = any(data.get(key) for key in _DEPENDENCIES)
    npm_lock = next((name for name in ("npm-shrinkwrap.json", "package-lock.json") if (app / name).is_file()), None)
    if (app / "pnpm-lock.yaml").is_file():
        pnpm = _pnpm_version(app / "pnpm-lock.yaml", data.get("packageManager"))
        return Package(scripts=scripts, lock="pnpm-lock.yaml", pnpm=pnpm, engines=engines, has_dependencies=has)
    unread = next((name for name in _UNREAD_LOCKS if (app / name).is_file()), None)
    if npm_lock is None and unread and has:
        hint = "Make one with `npm install --package-lock-only`, or with pnpm, and deploy it with the source."
        raise Invalid("source", f"has {unread} and no lock file of npm or pnpm, which this version reads", hint=hint)
    return Package(scripts=scripts, lock=npm_lock, pnpm=None, engines=engines, has_dependencies=has)


def start_of(package: Package, app: Path) -> tuple[tuple[str, ...], str]:
    """The argument list that starts the program, and why. Raises `Invalid` where nothing is found."""
    for name in _STARTS:
        if text := package.scripts.get(name):
            return _script(package, name, text), f"the script {name!r} of {FILE_NAME}"
    if "build" in package.scripts:  # which may make the file
        tries = "; ".join(f"[ -f {name} ] && exec node {name}" for name in ENTRY_FILES)
        missing = f"none of {', '.join(ENTRY_FILES)} is there"
        return ("sh", "-c", f"{tries}; echo {shlex.quote(missing)} >&2; exit 127"), "the first entry file that is built"
    entry = next((name for name in ENTRY_FILES if (app / name).is_file()), None)
    if entry is None:
        rule = f"must have a script 'start' in {FILE_NAME}, one of {', '.join(ENTRY_FILES)}, or blaxel.toml with "
        hint = 'A TypeScript source needs a script \'build\' too: "build": "tsc".'
        raise Invalid("source", f"{rule}[entrypoint] prod", hint=hint)
    return ("node", entry), f"{entry} is the program"


def _script(package: Package, name: str, text: str) -> tuple[str, ...]:
    """A script is run by a shell, as npm does it, but without npm between the node and the program: npm would take a
    third of a second and 60 MB of each replica. Where the script needs more of npm than its PATH, npm runs it."""
    needs_npm = "npm_" in text or f"pre{name}" in package.scripts or f"post{name}" in package.scripts
    return ("npm", "run", "--silent", name) if needs_npm else ("sh", "-c", text)


def check_of(argv: tuple[str, ...]) -> str:
    """Shell that fails, with the reason, where what `argv` starts is not there after the build."""
    if argv[:2] == ("sh", "-c") and argv[2].startswith("[ -f "):
        tests = " || ".join(f"[ -f {name} ]" for name in ENTRY_FILES)
        return f"{tests} || {{ echo 'the build made none of {', '.join(ENTRY_FILES)}'; false; }}"
    word = argv[0]
    if argv[:2] == ("sh", "-c"):
        match = _FIRST_WORD.match(argv[2])
        word = match[1] if match else "sh"
    missing = f"{word} is not there: the source does not hold it and no dependency installed it"
    check = f"command -v -- {shlex.quote(word)} > /dev/null || {{ printf '%s\\n' {shlex.quote(missing)}; false; }}"
    entry = argv[1] if argv[0] == "node" and len(argv) > 1 else ""
    if argv[0] != "node" or not entry.endswith((".js", ".mjs", ".cjs")):
        return check
    lost = f"{entry} is not there after the build"
    return f"{{ {check}; }} && {{ [ -f {shlex.quote(entry)} ] || {{ printf '%s\\n' {shlex.quote(lost)}; false; }}; }}"


def _pnpm_version(lock: Path, pinned: object) -> str:
    """What package.json pins in `packageManager`, else the one for the lock's format."""
    if isinstance(pinned, str) and (match := _PINNED.fullmatch(pinned)):
        return match[1]
    with lock.open(encoding="utf-8", errors="replace") as file:
        head = file.read(1000)
    found = re.search(r"^lockfileVersion:\s*['\"]?(\d+)", head, re.MULTILINE)
    version = _PNPM.get(found[1]) if found else None
    if version is None:
        rule = (
            f"must have a lockfileVersion of {', '.join(sorted(_PNPM))}, or package.json a packageManager pnpm@VERSION"
        )
        raise Invalid(lock.name, rule, value=found[1] if found else None)
    return version


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _FILE_BYTES:
        raise Invalid(FILE_NAME, f"may have {_FILE_BYTES} bytes at most", value=path.stat().st_size)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise Invalid(FILE_NAME, f"must be valid JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise Invalid(FILE_NAME, "must be an object")
    return data


def _texts(data: dict[str, Any], key: str, *, strict: bool = True) -> dict[str, str]:
    value = data.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) and "\0" not in text for text in value.values()):
        if strict:
            raise Invalid(f"{FILE_NAME}: {key}", "must be an object of strings")
        return {}
    return value
