"""Runs one of the node's own scripts beside it and waits without a thread: the node has one thread only, so that code
may run between fork and exec.
"""

import asyncio
import os
import subprocess
import sys


async def run_script(file: str, *words: str, given: bytes = b"") -> tuple[int, bytes]:
    """The exit code and the standard output of `python FILE WORDS…`, with `given` on its standard input. Raises OSError
    when no process can be had."""
    with os.fdopen(os.memfd_create("given"), "w+b") as stdin, os.fdopen(os.memfd_create("answer"), "w+b") as stdout:
        stdin.write(given)
        stdin.seek(0)
        command = [sys.executable, "-I", "-S", file, *words]
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, start_new_session=True)
        await _over(process.pid)
        code = process.wait()
        stdout.seek(0)
        return code, stdout.read()


async def _over(pid: int) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(pid)
    loop.add_reader(handle, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
