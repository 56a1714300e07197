"""`up` with small programs in place of the real components.

Run as a program of its own by the tests, so that signals and exit codes are real.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeport.core.errors import HomeportError
from homeport.settings import DataDir
from homeport.supervise import probe, supervisor
from homeport.supervise.drain import Work
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.processes import Handle, Starting
from homeport.supervise.progress import PlainProgress
from homeport.supervise.state import Book
from homeport.supervise.supervisor import Component
from homeport.supervise.up import Parts, UpOptions, explain, up

_QUIET = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(0))\ntime.sleep(600)"
_STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
_BROKEN = "import sys\nsys.exit('no luck today')"
_GATEWAY = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Idle:
    """Nothing is under way."""

    def pause(self) -> None:
        pass

    def work(self) -> Work:
        return Work(known=True)

    def close_gateway(self) -> None:
        pass


def die_at(count: int) -> None:
    """Kill this process right after its `count`th step: a state written, a process made, told to go on or signalled."""
    left = count

    def then_die(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*words: Any, **options: Any) -> Any:
            nonlocal left
            result = work(*words, **options)
            left -= 1
            if left == 0:
                print("DIES after", name, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    for holder, name in (
        (sys.modules[up.__module__], "write_state"),
        (sys.modules[Book.__module__], "write_state"),
        (supervisor, "spawn"),
        (Starting, "admit"),
        (Handle, "send"),
    ):
        setattr(holder, name, then_die(name, getattr(holder, name)))


class Busy(Idle):
    """One task runs until the file is there."""

    def __init__(self, until: Path) -> None:
        self._until = until

    def work(self) -> Work:
        if self._until.exists():
            return Work(known=True, waiting_tasks=2)
        return Work(known=True, tasks=1, executions=1, agents=1, replicas=3, waiting_tasks=2, requests=4)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--broken", default="")
    parser.add_argument("--stubborn", default="")
    parser.add_argument("--die-at", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="programs that start faster")
    parser.add_argument("--busy", type=Path, help="until this file is there")
    parser.add_argument("--drain", type=float, default=30.0)
    parser.add_argument("--grace", type=float, default=0.5)
    arguments = parser.parse_args()
    if arguments.die_at:
        die_at(arguments.die_at)

    def components(options: UpOptions, port: int) -> list[Component]:
        made = []
        for name in ("node", "server", "edge", "envoy"):
            program = _GATEWAY if name == "envoy" else _QUIET
            program = _BROKEN if name == arguments.broken else _STUBBORN if name == arguments.stubborn else program
            made.append(
                Component(
                    name=name,
                    argv=["/bin/sleep", f"600.{port}"]
                    if arguments.small and name != "envoy"
                    else [sys.executable, "-c", program, str(port)],
                    log=options.data.logs / f"{name}.log",
                    ready=(lambda: probe.ready(f"http://127.0.0.1:{port}")) if name == "envoy" else lambda: (True, ""),
                    stop_grace_s=arguments.grace if name == arguments.stubborn else 10.0,
                )
            )
        return made

    interrupts = Interrupts()
    interrupts.install()
    try:
        return up(
            UpOptions(data=DataDir(arguments.data), port=arguments.port, drain_s=arguments.drain),
            Parts(
                components=components,
                check_host=lambda options: [],
                plant=lambda data: Busy(arguments.busy) if arguments.busy else Idle(),
            ),
            interrupts=interrupts,
            progress=PlainProgress(),
            on_ready=lambda state: print("READY", state.port, flush=True),
        )
    except HomeportError as error:
        print(f"REFUSED {explain(error)}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
