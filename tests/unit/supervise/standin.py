"""`up` with small programs in place of the real components.

Run as a program of its own by the tests, so that signals and exit codes are real.
"""

import argparse
import sys
from pathlib import Path

from homeport.core.errors import HomeportError
from homeport.settings import DataDir
from homeport.supervise import probe
from homeport.supervise.drain import Work
from homeport.supervise.interrupts import Interrupts
from homeport.supervise.progress import PlainProgress
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


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--broken", default="")
    parser.add_argument("--stubborn", default="")
    parser.add_argument("--grace", type=float, default=0.5)
    arguments = parser.parse_args()

    def components(options: UpOptions, port: int) -> list[Component]:
        made = []
        for name in ("node", "server", "edge", "envoy"):
            program = _GATEWAY if name == "envoy" else _QUIET
            program = _BROKEN if name == arguments.broken else _STUBBORN if name == arguments.stubborn else program
            made.append(
                Component(
                    name=name,
                    argv=[sys.executable, "-c", program, str(port)],
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
            UpOptions(data=DataDir(arguments.data), port=arguments.port),
            Parts(components=components, check_host=lambda options: [], plant=lambda data: Idle()),
            interrupts=interrupts,
            progress=PlainProgress(),
            on_ready=lambda state: print("READY", state.port, flush=True),
        )
    except HomeportError as error:
        print(f"REFUSED {explain(error)}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
