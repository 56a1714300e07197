"""Envoy looks for a server that is away again and again, and does not grow tired of it."""

import json
import socket
import subprocess
import time
from pathlib import Path

from homeport.dataplane.bootstrap import EnvoySockets, bootstrap, envoy_command
from homeport.testing.system import BOUND_S, free_port

CONNECTIONS = 20
AT_MOST_S = 30.0  # by Envoy's own rule this many take minutes; by ours, seconds


def test_envoy_looks_for_a_server_that_is_away_at_least_twice_a_second(tmp_path: Path) -> None:
    sockets = EnvoySockets(xds=tmp_path / "x", server=tmp_path / "s", edge=tmp_path / "e", admin=tmp_path / "a")
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap(sockets=sockets, host="127.0.0.1", port=free_port())))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(sockets.xds))
        listener.listen()
        listener.settimeout(BOUND_S)
        with subprocess.Popen(envoy_command(config, concurrency=1), stderr=subprocess.DEVNULL) as envoy:
            try:
                listener.accept()[0].close()
                began = time.monotonic()
                for _ in range(CONNECTIONS):
                    listener.accept()[0].close()
                assert time.monotonic() - began < AT_MOST_S
            finally:
                envoy.kill()
