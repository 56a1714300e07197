"""The benchmarks run: a tiny round of each, so that they do not rot. No figure is looked at here; `make bench` does."""

import json
import os
import pkgutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import scenarios
from homeport.testing.engines import GIVEN, engine_obstacle, running_engine

ROOT = Path(__file__).parents[2]
BOUND_S = 600  # three minutes alone; it runs beside other tests


def test_every_scenario_hands_back_figures_or_says_why_not(tmp_path: Path) -> None:
    with ExitStack() as stack:
        env = {**os.environ}
        if engine_obstacle() is None:  # one for all scenarios that need one; where there is none they say so
            env[GIVEN] = stack.enter_context(running_engine()).url
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--rounds", "1", "--scale", "0.01", "--results", str(tmp_path)],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
    assert "Traceback" not in done.stderr, done.stderr
    [written] = tmp_path.iterdir()
    found = json.loads(written.read_text())["scenarios"]
    assert found.keys() == {module.name for module in pkgutil.iter_modules(scenarios.__path__)}
    assert all(entry.get("figures") or entry["refused"] for entry in found.values()), found
