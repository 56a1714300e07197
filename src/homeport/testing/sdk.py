"""The public SDKs as their users have them: in a fresh process, with what `homeport env` prints and nothing else."""

import os
import subprocess
import sys
import textwrap

from homeport.testing.system import BOUND_S, System


def sdk_environment(system: System, **more: str) -> dict[str, str]:
    """This process's variables without any that an SDK reads, plus what a shell has after `eval "$(homeport env)"`,
    plus `more`."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "HOMEPORT_", "PYTHONPATH"))}
    exports = system.command("env")
    assert exports.returncode == 0, exports.stderr
    script = f"{exports.stdout}\nenv -0"
    shown = subprocess.run(["bash", "-c", script], env=clean, capture_output=True, text=True, timeout=60, check=True)
    found = dict(entry.partition("=")[::2] for entry in shown.stdout.split("\0") if entry)
    return {**found, "DO_NOT_TRACK": "1", **more}


def with_sdk(system: System, program: str, **more: str) -> str:
    """What the Python program prints."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    env = sdk_environment(system, **more)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
