"""The script that a build runs in its sandbox, and the environment that it runs in. Pure; called by the builder.

Everything that people should see is printed by the script itself, so the build's log is the unit's output and nothing
else: what happened before (unpacking, the choice of the start command) is echoed first. Each step is announced by a
line that starts with `==> `; the first command that fails ends the script with its exit code.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from homeport.build.dependencies import Dependencies
from homeport.build.detect import Program
from homeport.build.interpreter import Interpreter
from homeport.build.node import SHOWN, Node
from homeport.build.npm import Package, check_of

RECIPE = 3  # changes whenever the same source would come out differently; part of a bundle's digest
MARK = "==> "
APP = "/app"
CACHE = "/cache"
UV = "/build/bin/uv"
KEPT = "/build/kept"  # the program of an earlier bundle
# Of builds and of everything that runs from a bundle.
PATH = f"/app/.venv/bin:/app/node_modules/.bin:{SHOWN}/bin:/usr/local/bin:/usr/bin:/bin"

_ENV = "/app/.venv"
_PYTHON = f"{_ENV}/bin/python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """name: what it does, for an error. title: its line in the log. script: shell, which fails as a whole or not."""

    name: str
    title: str
    script: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the script is made from. notes: lines for the log before the first step. node: the machine's, and what
    package.json says; None for what is no Node.js source. kept: an earlier build's environment is at `KEPT`."""

    interpreter: Interpreter
    dependencies: Dependencies
    program: Program
    notes: tuple[str, ...] = ()
    uv_arguments: tuple[str, ...] = ()
    node: tuple[Node, Package] | None = None
    kept: bool = False


def steps(plan: Plan) -> tuple[Step, ...]:
    """The steps in their order."""
    return _node_steps(plan, *plan.node) if plan.node else _python_steps(plan)


def _node_steps(plan: Plan, node: Node, package: Package) -> tuple[Step, ...]:
    result: list[Step] = []
    if package.install:
        source = package.lock or "package.json, without a lock file"
        title = f"Installing packages from {source} ({package.manager}, Node.js {node.version})"
        result.append(Step(name="Installing packages", title=title, script=package.install))
    if package.build:
        title = f"Building: {package.scripts['build']}"
        result.append(Step(name="Building the program", title=title, script=package.build))
    title = "Checking the start command"
    result.append(Step(name=title, title=title, script=check_of(plan.program.argv)))
    return tuple(result)


def _python_steps(plan: Plan) -> tuple[Step, ...]:
    result = [_taken(plan)] if plan.kept else _installed(plan)
    compile_all = [_PYTHON, "-m", "compileall", "-q", "-x", r"/\.venv/|/node_modules/", APP]
    # A file that does not compile may be a template or a fixture: it is shown and it fails nothing here.
    result.append(Step(name="Compiling", title="Compiling the program", script=f"{shlex.join(compile_all)} || true"))
    if command := _started(plan.program.argv):
        result.append(_check(command))
    return tuple(result)


def install_scripts(plan: Plan) -> tuple[str, ...]:
    """What makes the environment."""
    return tuple(step.script for step in _installed(plan))


def _taken(plan: Plan) -> Step:
    """A copy: programs that run must not share files with one that is being built. Made anew where it cannot be had,
    since the bundle may go meanwhile."""
    anew = " && ".join(["rm -rf " + _ENV, *install_scripts(plan)])
    script = f"cp -a {KEPT}/.venv {_ENV} 2>/dev/null || {{ {anew}; }}"
    title = "Taking the packages of an earlier build, since nothing that names them has changed"
    return Step(name="Installing dependencies", title=title, script=script)


def _installed(plan: Plan) -> list[Step]:
    # Relocatable, because without sandboxes a bundle does not stand at /app.
    how = ["--quiet", "--clear", "--no-project", "--relocatable"]
    make = shlex.join([UV, "venv", *how, "--python", plan.interpreter.path, _ENV])
    title = f"Making the environment (Python {plan.interpreter.version})"
    result = [Step(name="Making the environment", title=title, script=make)]
    for install in plan.dependencies.installs:
        script = _install(install.argv, plan)
        result.append(Step(name="Installing dependencies", title=install.title, script=script))
    if plan.program.served and "uvicorn" not in plan.dependencies.names:
        title = f"Adding uvicorn, which serves {plan.program.served} and is not among the dependencies"
        # websockets: without it uvicorn answers no WebSocket.
        script = _install(("pip", "install", "uvicorn", "websockets"), plan)
        result.append(Step(name="Adding uvicorn", title=title, script=script))
    return result


def script(plan: Plan) -> str:
    """The whole script for `/bin/sh`."""
    lines = ["exec 2>&1", "began=$(date +%s)"]  # one stream, so that the lines stay in order
    lines += [f"printf '%s\\n' {shlex.quote(MARK + note)}" for note in plan.notes]
    for step in steps(plan):
        lines += [f"printf '%s\\n' {shlex.quote(MARK + step.title)}", f"{{ {step.script}; }} || exit $?"]
    lines.append(f"printf '%s\\n' \"{MARK}Done in $(( $(date +%s) - began )) s\"")
    return "\n".join(lines) + "\n"


def environment(registry: Mapping[str, str], build_args: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the build unit. The source may add variables, and change the registry's, for its own
    build; the ones that hold the sandbox together are not its to change.

    UV_LINK_MODE=copy: hard links would give a bundle and the cache the same files, and the next build, whose code may
    write to the cache, could change a program that already serves.
    """
    fixed = {
        "PATH": PATH,
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "UV_CACHE_DIR": CACHE,
        "UV_COMPILE_BYTECODE": "1",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        "UV_PROJECT_ENVIRONMENT": _ENV,
        "UV_PYTHON_DOWNLOADS": "never",
        "npm_config_cache": CACHE,
        "npm_config_audit": "false",
        "npm_config_fund": "false",
        "npm_config_update_notifier": "false",
        "npm_config_progress": "false",
    }
    return {**registry, **build_args, **fixed}


def _install(argv: tuple[str, ...], plan: Plan) -> str:
    is_sync = argv[0] == "sync"
    python = plan.interpreter.path if is_sync else _PYTHON
    words = argv[:1] if is_sync else argv[:2]
    return shlex.join([UV, *words, "--python", python, *plan.uv_arguments, *argv[len(words) :]])


def _started(argv: tuple[str, ...]) -> str | None:
    """The program that `argv` starts, looked for through our own `sh -c 'exec …'`; None where only the shell knows."""
    words = shlex.split(argv[2]) if argv[:2] == ("sh", "-c") and len(argv) == 3 and argv[2].startswith("exec ") else []
    command = words[1] if len(words) > 1 else argv[0]
    return None if "$" in command else command


def _check(command: str) -> Step:
    missing = f"{command} is not there: the source does not hold it and no dependency installed it"
    look = f"command -v -- {shlex.quote(command)} > /dev/null"
    script = f"{look} || {{ printf '%s\\n' {shlex.quote(missing)}; false; }}"
    return Step(name="Checking the start command", title="Checking the start command", script=script)
