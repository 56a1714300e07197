"""The stand-in for bubblewrap under `--insecure-no-sandbox`: runs a command and writes the same status lines.

Started by the launcher as `python -I -S plain.py STATUS-FD DESCRIPTION-FD`, so its top imports only the standard
library; `description` runs in the node. It isolates nothing. It is the parent of everything the unit starts (orphans
come to it), so that the unit can still be ended as a group. /app is a private copy of the bundle, and paths of
the sandbox in the command and the environment are rewritten to their places on the host.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from homeport.core.units import UnitSpec
    from homeport.node.sandbox import Places
    from homeport.node.stage import Stage

_PR_SET_CHILD_SUBREAPER = 36


def description(spec: "UnitSpec", places: "Places", stage: "Stage") -> dict[str, Any]:
    """What the stand-in needs to know, with the sandbox's paths replaced by their places on the host."""
    moves = {mount.target: stage.reach(mount.source, "mounts.source") for mount in spec.mounts}
    copy = None
    if "/app" not in moves:
        moves["/app"] = str(places.upper)
        copy = [stage.reach(spec.bundle, "bundle"), stage.reach(str(places.upper), "upper")] if spec.bundle else None
    return {
        "argv": [_move(word, moves) for word in spec.argv],
        "env": {name: _move(value, moves) for name, value in spec.env.items()},
        "workdir": _move(spec.workdir, moves),
        "copy": copy,
    }


def run(status: int, what: dict[str, Any]) -> None:
    """Start the command, wait for it, end what it left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _report(status, {"child-pid": os.getpid()})
    if what["copy"]:
        bundle, app = what["copy"]
        shutil.copytree(bundle, app, symlinks=True, dirs_exist_ok=True)
    child = os.fork()
    if child == 0:
        _become(what)
    ended = 0
    while ended != child:
        ended, state = os.wait()
    code = os.waitstatus_to_exitcode(state)
    _report(status, {"signal": -code} if code < 0 else {"exit-code": code})
    _end_the_rest()


def _become(what: dict[str, Any]) -> None:
    try:
        os.chdir(what["workdir"])
        os.execvpe(what["argv"][0], what["argv"], what["env"])
    except OSError as error:
        print(f"cannot start {what['argv'][0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)


def _end_the_rest() -> None:
    """Kill descendants until none is left; each round sees those that lost their parent in the last."""
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _move(word: str, moves: dict[str, str]) -> str:
    """`word` with each path that begins with a key of `moves` moved; also in lists such as PATH and in shell text."""
    targets = "|".join(re.escape(target) for target in sorted(moves, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({targets})(?![\w.-])", lambda found: moves[found[1]], word)


def _report(status: int, line: dict[str, Any]) -> None:
    os.write(status, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    handles = [int(word) for word in sys.argv[1:3]]
    for handle in handles:
        os.set_inheritable(handle, False)
    with os.fdopen(handles[1]) as file:
        given = json.load(file)
    run(handles[0], given)
