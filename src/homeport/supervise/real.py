"""The four components of the real system and how each is asked whether it answers.

The only file here that knows them. Used by `homeport.supervise.__main__`.
"""

import http.client
import json
import sys
import time
from pathlib import Path

from homeport.core.clock import SystemClock
from homeport.dataplane.bootstrap import EnvoySockets, bootstrap, envoy_command
from homeport.settings import DataDir
from homeport.supervise import probe
from homeport.supervise.host import check_host
from homeport.supervise.supervisor import Component
from homeport.supervise.up import Parts, UpOptions

NODE_STOP_S = 40.0  # it stops every unit first, and each of those has a grace of its own
_NODE_HURRY_S = 15.0  # even in a hurry: a killed node would leave its units running, by design
_DRAIN_S = 3.0  # for requests under way when the system stops; longer ones are cut, as at any stop
_DRAIN_TURN_S = 0.05
# Envoy needs a descriptor for each connection; the others keep the modest limit, which workloads inherit.
_MANY_FILES = 'ulimit -n "$(ulimit -H -n)"; exec "$@"'


def components(options: UpOptions, port: int) -> tuple[Component, ...]:
    """Node, server, edge and Envoy, in the order in which each needs the one before it."""
    data = options.data
    python = [sys.executable, "-m"]
    insecure = [] if options.sandboxed else ["--insecure-no-sandbox"]
    root = str(data.root)
    node = [*python, "homeport.node", "--data", root, "--socket", str(data.socket("node")), *insecure]
    server = [*python, "homeport.server", "--data", root, "--port", str(port), "--host", options.host]
    edge = [*python, "homeport.edge", "--data", root]
    envoy = ["/bin/sh", "-c", _MANY_FILES, "envoy", *envoy_command(_write_bootstrap(data, options.host, port))]
    return (
        Component(
            name="node",
            argv=node,
            log=data.logs / "node.log",
            ready=lambda: _accepts(data, "node"),
            stop_grace_s=NODE_STOP_S,
            hurry_s=_NODE_HURRY_S,
        ),
        Component(
            name="server",
            argv=server,
            log=data.logs / "server.log",
            ready=lambda: probe.ready_on(data.socket("server")),
            stop_grace_s=15.0,
        ),
        Component(
            name="edge",
            argv=edge,
            log=data.logs / "edge.log",
            ready=lambda: _accepts(data, "edge"),
            stop_grace_s=15.0,  # it lets requests go on for ten
        ),
        Component(
            name="envoy",
            argv=envoy,
            log=data.logs / "envoy.log",
            ready=lambda: _accepts(data, "envoy-admin"),
            drain=lambda: drain_envoy(data.socket("envoy-admin")),
            stop_grace_s=5.0,
        ),
    )


REAL = Parts(components=components, check_host=check_host)


def drain_envoy(admin: Path) -> None:
    """Have Envoy accept nothing new and wait briefly for the requests under way. Never raises: what follows is the
    end of Envoy either way."""
    clock = SystemClock()
    deadline = clock.monotonic() + _DRAIN_S
    try:
        _admin(admin, "POST", "/drain_listeners")
        while clock.monotonic() < deadline and _active_requests(admin):
            time.sleep(_DRAIN_TURN_S)
    except (OSError, http.client.HTTPException, ValueError):
        return


def _active_requests(admin: Path) -> int:
    answer = _admin(admin, "GET", "/stats?format=json&filter=^http.gateway.downstream_rq_active$")
    return sum(int(stat.get("value", 0)) for stat in json.loads(answer).get("stats", ()))


def _admin(admin: Path, method: str, path: str) -> bytes:
    connection = probe.UnixConnection(admin)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _accepts(data: DataDir, socket: str) -> tuple[bool, str]:
    path = data.socket(socket)
    return (True, "") if probe.accepts(path) else (False, f"nobody listens on {path}")


def _write_bootstrap(data: DataDir, host: str, port: int) -> Path:
    sockets = EnvoySockets(
        xds=data.socket("xds"),
        server=data.socket("server"),
        edge=data.socket("edge"),
        admin=data.socket("envoy-admin"),
    )
    path = data.sockets / "envoy.json"
    path.write_text(json.dumps(bootstrap(sockets=sockets, host=host, port=port), indent=1))
    return path
