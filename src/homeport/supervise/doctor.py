"""All that `homeport doctor` looks at: what a start needs, and what engines, builds and the data directory are like.

`python -m homeport.supervise.doctor --data DIR` prints it as JSON; the command line runs it as a program, since the
trials belong in a process of their own. Finds out and explains; changes nothing.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from homeport.build.node import find_node
from homeport.configuration import DOCKER, RegionTable, read_configuration
from homeport.core.errors import HomeportError, Invalid, Unavailable
from homeport.drivers.docker.address import usual_engine
from homeport.drivers.docker.engine import EngineError
from homeport.engines import engine_of
from homeport.settings import DataDir
from homeport.supervise.host import Finding, disk, envoy, finding_of, machine, nearest, open_files
from homeport.supervise.state import read_state


def examine(data: DataDir) -> list[Finding]:
    """Everything that `doctor` shows. Raises nothing."""
    return [
        *machine(data),
        envoy(),
        *_builders(),
        _engine(data),
        _directory(data),
        disk(data),
        open_files(),
        _running(data),
    ]


def _builders() -> list[Finding]:
    """What builds use besides what Homeport brings along."""
    git = shutil.which("git")
    found = [finding_of("git", git is not None, git or "not on the PATH", "Install git.", needed=False)]
    try:
        node = find_node()
    except Invalid as error:
        return [*found, finding_of("node", False, error.rule, error.hint, needed=False)]
    return [*found, finding_of("node", True, f"{node.path} {node.version}", "", needed=False)]


def _engine(data: DataDir) -> Finding:
    """Whether the engines that regions stand for answer; where there are none, whether there is one to name."""
    try:
        regions = read_configuration(data.config).regions
    except Unavailable as error:
        return finding_of("engine", False, error.message, error.hint, needed=False)
    named = {name: table for name, table in regions.items() if table.driver == DOCKER}
    if named:
        asked = asyncio.run(_ask_engines(named))
        silent = [f"[regions.{name}]" for name, (ok, _) in asked.items() if not ok]
        mend = f"Start it, or change {', '.join(silent)} in {data.config} and start Homeport again."
        found = ", ".join(f"{name}: {said}" for name, (_, said) in asked.items())
        return finding_of("engine", not silent, found, mend, needed=False)
    if (there := usual_engine()) is None:
        return finding_of("engine", True, "none", "", needed=False)
    mend = f'Add to {data.config}, and start again:\n[regions.docks]\ndriver = "{DOCKER}"\nengine = "{there}"'
    return finding_of("engine", False, f"one at {there}, in no region", mend, needed=False)


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
    there = nearest(data.root)
    ok = os.access(there, os.W_OK | os.X_OK)
    found = f"{data.root}" + ("" if data.root.exists() else " (made at the first start)")
    return finding_of("data directory", ok, found, "Choose a directory of yours with --data.")


def _running(data: DataDir) -> Finding:
    try:
        state = read_state(data)
    except (ValueError, OSError) as exc:
        return finding_of("state", False, str(exc), f"Remove {data.state} once nothing of Homeport runs.", needed=True)
    found = f"ready at {state.url}" if state.ready else "not running"
    return finding_of("homeport", True, found, "", needed=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    findings = examine(DataDir(parser.parse_args().data.absolute()))
    print(json.dumps([asdict(one) for one in findings]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
