"""The node's composition root: takes the lock, looks at the machine, adopts what lives, serves until SIGTERM.

    python -m homeport.node --data DIR --socket PATH [--sandbox-uid N] [--insecure-no-sandbox]

Started and watched by `homeport up`. SIGTERM and SIGINT end every unit, then the node, with exit code 0. SIGKILL ends
the node only; the next one goes on where it stopped. Exit code 3: this machine cannot run sandboxes, and the log says
what mends it. Exit code 4: another node owns the directory. Exit code 78 (`REFUSED`): the directory or the journal
cannot be written, and the log says why.
"""

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from homeport.core import log as logs
from homeport.core.clock import SystemClock
from homeport.core.open_files import raise_open_files
from homeport.core.service import REFUSED
from homeport.core.space import free_bytes
from homeport.node import cgroups, disk, host, sandbox
from homeport.node.cgroups import Groups
from homeport.node.facts import facts
from homeport.node.holding import Holding
from homeport.node.host import Findings
from homeport.node.launch import Launcher
from homeport.node.server import Server
from homeport.node.stage import Stage, stage_folder
from homeport.node.supervisor import Supervisor

log = logging.getLogger("homeport.node")

NO_SANDBOX, TAKEN = 3, 4
LOCK_WAIT_S = 15.0  # a child of a killed node holds the lock until it has become a unit: milliseconds
TRIAL_BYTES = 4 * 1024 * 1024  # of free disk, for a trial to tell anything
_PR_SET_CHILD_SUBREAPER = 36


def run(words: list[str] | None = None) -> int:
    """Run the node; returns its exit code."""
    options = _options(words)
    logs.configure("node", file=options.data / "logs" / "node.log")
    root = os.geteuid() == 0
    uid = options.sandbox_uid if root else None
    if uid == 0:
        log.error("--sandbox-uid must not be 0: units never run as root")
        return 2
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stage = Stage(uid)
    name = cgroups.installation_name(options.data)
    if options.check:
        return _check(options.data, stage, name, uid)
    folder = options.data / "node"
    try:
        _make(options.data, folder)
        lock = _lock(folder / "lock")
    except OSError as error:
        return _unwritable(folder, error)
    if lock is None:
        log.error("another node owns %s", options.data)
        return TAKEN
    stage.enter(stage_folder(name))
    groups = cgroups.find(name)
    try:
        launcher = _launcher(options, stage, groups, uid)
        raise_open_files()
        code = NO_SANDBOX if launcher is None else asyncio.run(_serve(options, launcher))
    except Unwritable as error:
        code = _unwritable(folder, error.cause)
    stage.leave()
    cgroups.remove(groups)
    os.close(lock)
    return code


class Unwritable(Exception):
    """The node's own files cannot be written."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause
        super().__init__(str(cause))


def _unwritable(folder: Path, error: OSError) -> int:
    log.error("not started: %s: %s", error.filename or folder, error.strerror)
    log.error("Programs are only started where it can be written down first. Make %s writable for this user.", folder)
    return REFUSED


async def _serve(options: argparse.Namespace, launcher: Launcher) -> int:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    version = host.bwrap_version(launcher.bwrap)
    try:
        supervisor = Supervisor(options.data / "node", launcher, Holding(options.socket.parent / "pipes.sock"))
    except OSError as error:
        raise Unwritable(error) from error
    found = facts(launcher, version)
    server = Server(options.socket, supervisor, found)
    await supervisor.open()
    await server.start()
    log.info("ready: %s", found)
    await over.wait()
    log.info("stopping: %d units are known", len(supervisor.units()))
    await supervisor.close()
    await server.stop()
    return 0


def _launcher(options: argparse.Namespace, stage: Stage, groups: Groups, uid: int | None) -> Launcher | None:
    etc = options.data / "node" / "etc"
    try:
        sandbox.write_etc(etc)
    except OSError as error:
        raise Unwritable(error) from error
    overlay, bwrap = False, None
    if options.insecure_no_sandbox:
        log.warning("INSECURE: units run WITHOUT a sandbox, as plain processes that see this machine")
    else:
        findings = _examine(options.data / "node", stage, groups, uid)
        for check in findings.checks:
            level = logging.INFO if check.ok else logging.ERROR if check.required else logging.WARNING
            log.log(level, "%s: %s%s", check.name, check.found, "" if check.ok else f"; {check.why}. {check.mend}")
        if findings.missing:
            log.error("not started. As a last resort --insecure-no-sandbox runs programs without isolation.")
            return None
        overlay, bwrap = findings.overlay, sandbox.find_bwrap()
    return Launcher(
        data=options.data.resolve(), etc=etc, stage=stage, groups=groups, uid=uid, overlay=overlay, bwrap=bwrap
    )


def _examine(folder: Path, stage: Stage, groups: Groups, uid: int | None) -> Findings:
    """Look at the machine; on a full disk, where a trial would only show that, remember what was found before: the
    node has to come back and look after what lives."""
    memory = folder / "machine.json"
    if free_bytes(folder) < TRIAL_BYTES and memory.exists():
        log.warning("the disk is full: no trial of the sandbox, it is taken to be as before")
        return Findings(checks=(), **json.loads(memory.read_text()))
    findings = host.examine(folder, stage, groups, uid)
    _reap_trials()
    if not findings.missing:
        with contextlib.suppress(OSError):
            disk.replace(memory, json.dumps({"overlay": findings.overlay, "bwrap_version": findings.bwrap_version}))
    return findings


def _check(data: Path, stage: Stage, name: str, uid: int | None) -> int:
    """Print the checks as JSON; 0 when a node could start."""
    while not data.is_dir():
        data = data.parent
    name = f"{name}-{os.getpid()}"
    stage.enter(stage_folder(name))
    groups = cgroups.find(name)
    try:
        findings = host.examine(data, stage, groups, uid)
    finally:
        _reap_trials()
        stage.leave()
        cgroups.remove(groups)
    sys.stdout.write(host.to_json(findings) + "\n")
    return NO_SANDBOX if findings.missing else 0


def _reap_trials() -> None:
    """The inits of trial sandboxes outlive their monitors by a moment, and come to us. Bounded: one may hang."""
    with contextlib.suppress(ChildProcessError):
        for _ in range(100):
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)


def _make(data: Path, folder: Path) -> None:
    """The node's directory: its users may pass, not list."""
    data.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)


def _lock(path: Path) -> int | None:
    """Own the directory, None when another node does. The handle is never inherited by a program that was executed,
    but a child between fork and exec still holds it: so who has the lock sees every unit that will ever exist."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = SystemClock().monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if SystemClock().monotonic() > deadline:
                os.close(handle)
                return None
        time.sleep(0.05)


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="homeport.node", description="Owns the processes of one Homeport.")
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    parser.add_argument("--socket", type=Path, help="the unix socket to serve on; default DATA/node/node.sock")
    parser.add_argument("--sandbox-uid", type=int, default=sandbox.HOST_UID, help="units' user when the node is root")
    parser.add_argument("--insecure-no-sandbox", action="store_true", help="run units as plain processes")
    parser.add_argument("--check", action="store_true", help="print what this machine has as JSON, and end")
    options = parser.parse_args(words)
    options.data = options.data.absolute()
    options.socket = (options.socket or options.data / "node" / "node.sock").absolute()
    return options
