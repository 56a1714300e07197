"""The benchmarks' own program outside of Homeport: a server that only answers, to measure what measures."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from homeport.testing.system import eventually, free_port

PROGRAM = Path(__file__).parent / "program" / "main.py"


@contextmanager
def trivial_server(cores: set[int] | None = None) -> Iterator[str]:
    """Its URL, while it runs."""
    port = free_port()
    env = {**os.environ, "PORT": str(port)}
    if cores:
        env["BENCH_CORES"] = ",".join(map(str, sorted(cores)))
    process = subprocess.Popen([sys.executable, str(PROGRAM)], env=env)
    url = f"http://127.0.0.1:{port}/"
    try:
        eventually(lambda: answers(url), f"{url} answers")
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
