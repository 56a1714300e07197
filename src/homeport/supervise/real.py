"""The four components of the real system and how each is asked whether it answers.

The only file here that knows them. Used by `homeport.supervise.__main__`.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from homeport import __version__
from homeport.configuration import Configuration, read_configuration
from homeport.core.limits import CallLimits
from homeport.core.open_files import hard_limit
from homeport.dataplane.bootstrap import EnvoySockets, bootstrap, envoy_command
from homeport.settings import DataDir
from homeport.supervise import probe
from homeport.supervise.drain import RealPlant
from homeport.supervise.host import check_host
from homeport.supervise.programs import node_command
from homeport.supervise.pulse import Question
from homeport.supervise.supervisor import Component
from homeport.supervise.up import Parts, UpOptions
from homeport.telemetry import collector_of

NODE_STOP_S = 40.0  # it stops every unit first, and each of those has a grace of its own
_NODE_HURRY_S = 15.0  # even in a hurry: a killed node would leave its units running, by design
_NODE_SILENT_S = 180.0  # it has the most to do under load, and while it is away nothing starts
_PING = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"  # any answer is a sign of life
_NODE_PING = b'{"method": "info"}\n'


def components(options: UpOptions, port: int) -> tuple[Component, ...]:
    """Node, server, edge and Envoy, in the order in which each needs the one before it."""
    data = options.data
    python = [sys.executable, "-m"]
    root = str(data.root)
    node = node_command(data, sandboxed=options.sandboxed)
    server = [*python, "homeport.server", "--data", root, "--port", str(port), "--host", options.host]
    configuration = read_configuration(data.config)
    edge = [*python, "homeport.edge", "--data", root, *_limits(configuration.limits.calls)]
    configured = _write_bootstrap(data, options.host, port, configuration)
    envoy = envoy_command(configured)
    return (
        Component(
            name="node",
            argv=node,
            log=data.log("node"),
            bounds_log=True,
            version=_version(node),
            question=Question(socket=data.socket("node"), text=_NODE_PING),
            ready=lambda: _accepts(data, "node"),
            stop_grace_s=NODE_STOP_S,
            hurry_s=_NODE_HURRY_S,
            silent_s=_NODE_SILENT_S,
        ),
        Component(
            name="server",
            argv=server,
            log=data.log("server"),
            bounds_log=True,
            version=_version([*server, data.config.read_text() if data.config.exists() else ""]),
            question=Question(socket=data.socket("server"), text=_PING),
            ready=lambda: probe.ready_on(data.socket("server")),
            stop_grace_s=15.0,
        ),
        Component(
            name="edge",
            argv=edge,
            log=data.log("edge"),
            bounds_log=True,
            version=_version(edge),
            question=Question(socket=data.socket("edge"), text=_PING),
            ready=lambda: _accepts(data, "edge"),
            stop_grace_s=15.0,  # it lets requests go on for ten
        ),
        Component(
            name="envoy",
            argv=envoy,
            log=data.log("envoy"),
            version=_version([*envoy, configured.read_text()]),
            question=Question(socket=data.socket("envoy-admin"), text=_PING),
            ready=lambda: _accepts(data, "envoy-admin"),
            stop_grace_s=5.0,
        ),
    )


REAL = Parts(components=components, check_host=check_host, plant=RealPlant)


def _version(words: Sequence[str]) -> str:
    """Names what is run and how: a component of an earlier start goes on only if this is the same."""
    return hashlib.sha256("\0".join((__version__, *words)).encode()).hexdigest()[:16]


def _limits(calls: CallLimits) -> list[str]:
    idle_s, total_s, quiet_s = str(calls.idle_s), str(calls.total_s), str(calls.websocket_idle_s)
    return ["--call-idle-s", idle_s, "--call-timeout-s", total_s, "--websocket-idle-s", quiet_s]


def _accepts(data: DataDir, socket: str) -> tuple[bool, str]:
    path = data.socket(socket)
    return (True, "") if probe.accepts(path) else (False, f"nobody listens on {path}")


def _write_bootstrap(data: DataDir, host: str, port: int, configuration: Configuration) -> Path:
    sockets = EnvoySockets(
        xds=data.socket("xds"),
        server=data.socket("server"),
        edge=data.socket("edge"),
        admin=data.socket("envoy-admin"),
    )
    found = bootstrap(
        sockets=sockets,
        host=host,
        port=port,
        files=hard_limit(),
        collector=collector_of(configuration),
        domain=configuration.gateway.domain,
    )
    path = data.envoy_config
    path.unlink(missing_ok=True)
    # It may hold what opens the collector of traces.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(found, file, indent=1)
    return path
