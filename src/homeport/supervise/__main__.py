"""The supervisor as a program: `python -m homeport.supervise --data DIR …`. `homeport up` becomes it.

A program of its own so that what stays for days holds neither the command line nor an HTTP client in memory, and so
that `--detach` is the same program in a new session. Exit codes as in `homeport --help`: 0, 1 failed, 2 usage.
"""

import argparse
import contextlib
import json
import os
import resource
import select
import subprocess
import sys
from pathlib import Path

from homeport.core import log
from homeport.core.clock import SystemClock
from homeport.core.errors import Denied, HomeportError, Internal, Invalid
from homeport.core.open_files import raise_open_files
from homeport.settings import DataDir, default_data
from homeport.supervise.drain import DRAIN_S
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.logs import bound_idle_log
from homeport.supervise.notify import Manager
from homeport.supervise.processes import Handle, identify
from homeport.supervise.progress import PlainProgress, progress_here
from homeport.supervise.real import REAL
from homeport.supervise.state import UpState
from homeport.supervise.supervisor import Grace, end
from homeport.supervise.up import STOPPED_BEFORE_READY, UpOptions, explain, prepare, up

_DETACHED_BOUND_S = 300.0  # the bounds of all steps of a start together; each of them is far shorter
_DETACHED_STOP_S = 60.0  # for the same process to take down what it started, if that bound is ever reached
_LOG_LINES = 15
# The memory of our processes holds keys. One byte, and not zero: the kernel hands a dump to a program that collects
# them (core_pattern with a pipe) whatever the limit is, unless it is 1.
_NO_CORE = (1, 1)


def main(argv: list[str] | None = None) -> int:
    """Run with `argv`; returns the exit code."""
    if sys.platform != "linux":
        print("Error: Homeport runs on Linux (x86_64 or aarch64).", file=sys.stderr)
        return 1
    arguments = _parse(argv)
    resource.setrlimit(resource.RLIMIT_CORE, _NO_CORE)
    raise_open_files()
    options = UpOptions(
        data=DataDir(Path(arguments.data).absolute()),
        port=arguments.port,
        host=arguments.host,
        sandboxed=not arguments.insecure_no_sandbox,
        country=arguments.country,
        continent=arguments.continent,
        drain_s=arguments.drain,
    )
    try:
        if arguments.detach:
            return _detach(options, [a for a in (argv if argv is not None else sys.argv[1:]) if a != "--detach"])
        return _stay(options, arguments.report_fd)
    except HomeportError as exc:
        print(f"Error: {explain(exc)}", file=sys.stderr, flush=True)
        return _exit_code(exc)
    except OSError as exc:  # such as a full disk
        print(f"Error: Homeport cannot start: {exc}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:  # while waiting for a detached start, which is stopped by now
        return STOPPED_BEFORE_READY


def _exit_code(error: HomeportError) -> int:
    return 2 if isinstance(error, Invalid) else 3 if isinstance(error, Denied) else 1


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="homeport up", description=__doc__)
    parser.add_argument("--data", default=str(default_data()))
    parser.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--insecure-no-sandbox", action="store_true")
    parser.add_argument("--country")
    parser.add_argument("--continent")
    parser.add_argument("--drain", type=float, default=DRAIN_S)
    parser.add_argument("--report-fd", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _stay(options: UpOptions, report_fd: int | None) -> int:
    """The supervisor itself. With `report_fd`, one line of JSON there says how the start ended."""
    # On a terminal the progress says it; in a file each start of a component has its time.
    log.configure("up", "WARNING" if sys.stdout.isatty() else "INFO", file=options.data.log("up"))
    interrupts = Interrupts()
    interrupts.install()
    manager = Manager()
    progress = progress_here() if report_fd is None else PlainProgress()

    def on_ready(state: UpState) -> None:
        progress.say(welcome(options.data, state, detached=report_fd is not None))
        _report(report_fd, {"ready": True, "text": welcome(options.data, state, detached=True)})
        manager.tell("READY=1", f"STATUS=ready at {state.url}")

    try:
        return up(options, REAL, interrupts=interrupts, progress=progress, on_ready=on_ready)
    except HomeportError as exc:
        _report(report_fd, {"ready": False, "error": explain(exc), "code": _exit_code(exc)})
        raise
    except OSError as exc:
        _report(report_fd, {"ready": False, "error": f"Homeport cannot start: {exc}", "code": 1})
        raise
    finally:
        progress.close()


def _report(fd: int | None, message: dict[str, object]) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):  # nobody waits any more; the supervisor goes on
            os.write(fd, json.dumps(message).encode() + b"\n")
            os.close(fd)


def _detach(options: UpOptions, arguments: list[str]) -> int:
    """Start the same program in a session of its own and return when it is ready, or say why it is not."""
    prepare(options.data)
    path = options.data.log("up")
    bound_idle_log(path)
    start = path.stat().st_size if path.exists() else 0
    reading, writing = os.pipe()
    with path.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "homeport.supervise", *arguments, "--report-fd", str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    progress = progress_here()
    progress.step("starting Homeport")
    try:
        message = _await_report(reading, child)
    except BaseException:
        # Ctrl-C or the bound: the child must not go on to serve what nobody waits for.
        _stop_child(child)
        raise
    finally:
        progress.close()
        os.close(reading)
    if message.get("ready"):
        progress.say(str(message["text"]))
        return 0
    if message.get("error"):
        print(f"Error: {message['error']}\nIts log: {path}", file=sys.stderr, flush=True)
    else:
        words = f"Error: Homeport ended before it was ready. The end of {path}:\n{_tail(path, start)}"
        print(words, file=sys.stderr, flush=True)
    child.wait(_DETACHED_STOP_S)
    return int(str(message.get("code", 1)))


def _await_report(reading: int, child: "subprocess.Popen[bytes]") -> dict[str, object]:
    """The report; an empty one if the child ends without."""
    clock = SystemClock()
    deadline = clock.monotonic() + _DETACHED_BOUND_S
    buffer = b""
    while not buffer.endswith(b"\n"):
        left_s = deadline - clock.monotonic()
        if left_s <= 0:
            raise Internal(f"Homeport was not ready within {_DETACHED_BOUND_S:.0f} s.")
        if not select.select([reading], [], [], left_s)[0]:
            continue
        block = os.read(reading, 65536)
        if not block:
            return {}
        buffer += block
    message: dict[str, object] = json.loads(buffer)
    return message


def _stop_child(child: "subprocess.Popen[bytes]") -> None:
    identity = identify(child.pid)
    handle = Handle.open(identity) if identity else None
    if handle is not None:
        with handle:
            end(handle, Grace(seconds=_DETACHED_STOP_S), SystemClock())
    child.wait()


def _tail(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        lines = file.read(256 * 1024).decode("utf-8", "replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])


def welcome(data: DataDir, state: UpState, *, detached: bool) -> str:
    """What a newcomer needs next, short."""
    option = "" if data.root == default_data() else f" --data {data.root}"
    stop = f"Stop it with `homeport down{option}`." if detached else "Stop it with Ctrl-C."
    lines = [
        f"Homeport is ready at {state.url}",
        f"  workspace  {state.workspace}",
        f"  admin key  {data.admin_key} (the command line finds it there)",
        f"  logs       {data.logs}",
        "Try next:",
        f"  homeport deploy -d examples/hello-agent{option}",
        f'  homeport run agent hello-agent -d \'{{"inputs": "Good morning"}}\'{option}',
        f'  eval "$(homeport env{option})"   # points the public SDKs and command line here',
        stop,
    ]
    if not state.sandboxed:
        lines.insert(1, "  NO SANDBOX: programs run with your rights. Deploy only what you trust.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
