"""Turns a unit's specification into a process: bubblewrap's monitor, or without sandbox our own. Called by the
supervisor, in a program of one thread, so that code may run between fork and exec.

The child itself writes its identity to a file before it becomes bubblewrap: whoever finds that file knows that the
process exists, and whoever does not knows that it never did (a later node waits on a lock that the child still holds).
"""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.units import Mount, UnitSpec, VolumeMount
from homeport.node import cgroups, disk, plain, processes, sandbox, volumes
from homeport.node.cgroups import Groups, UnitGroups
from homeport.node.stage import Stage

STREAMS = ("stdout", "stderr")
_OOM_SCORE = "500"  # when the whole machine runs out of memory, units go before Homeport
_TASK_CEILING = 4096  # with no pids cgroup: an explosion is stopped by the kernel, the exact limit is the watchdog's


UNIT_FILES = 65_536  # open in each process of a unit: the machine's most would be the node's own
REPORT_BYTES = 4096  # a block: the sandbox's report and the node's intent take some hundred bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of one unit below DATA/node/units/ID. Nothing of it but `upper`, `work` and `home` is shown inside."""

    path: Path

    @property
    def identity(self) -> Path:
        return self.path / "process"

    @property
    def status(self) -> Path:
        return self.path / "status"

    @property
    def intent(self) -> Path:
        """Why the unit is being ended, for a later node: see `homeport.node.unit`."""
        return self.path / "intent"

    @property
    def groups(self) -> Path:
        return self.path / "cgroups"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def private(self) -> tuple[Path, ...]:
        """What the unit wrote to, of no use once it has ended."""
        names = ("app", "work", "home", volumes.OWN, "stdout.spool", "stderr.spool")
        return tuple(self.path / name for name in names)

    def contents(self, spec: UnitSpec) -> Iterator[tuple[VolumeMount, Path]]:
        """The unit's volumes, each with its directory, below DATA."""
        return volumes.contents(spec, self.path.parents[2] / "volumes", self.path)

    @property
    def written(self) -> tuple[Path, ...]:
        """Where the unit writes to the disk."""
        return (self.path / "app", self.path / "home")

    @property
    def pipes(self) -> tuple[Path, ...]:
        return tuple(self.pipe(stream) for stream in STREAMS)

    def pipe(self, stream: str) -> Path:
        return self.path / f"{stream}.pipe"

    def places(self, etc: Path) -> sandbox.Places:
        return sandbox.Places(upper=self.path / "app", work=self.path / "work", home=self.path / "home", etc=etc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """All that is the same for every unit of this node."""

    data: Path
    etc: Path
    stage: Stage
    groups: Groups
    uid: int | None
    overlay: bool
    bwrap: Path | None

    @property
    def volumes(self) -> Path:
        return self.data / "volumes"

    def prepare(self, spec: UnitSpec, folder: Folder) -> UnitGroups:
        """Make everything that the process needs; returns its control groups. Raises `Invalid` when the specification
        cannot be followed on this machine, and OSError when the machine refuses."""
        sandbox.check_spec(spec)
        self._make_folders(spec, folder)
        # Written first, so that a later node finds every group that was made.
        folder.groups.write_text(json.dumps(cgroups.plan(self.groups, spec.id, spec.cpu_cores).to_json()))
        limits = cgroups.create(self.groups, spec.id, spec.memory_mb, spec.max_processes, spec.cpu_cores)
        for path in (folder.status, folder.intent):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if not disk.set_aside(handle, REPORT_BYTES):  # how it ends is written on a full disk, too
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)
        return limits

    def _make_folders(self, spec: UnitSpec, folder: Folder) -> None:
        places = folder.places(self.etc)
        for private in (places.upper, places.work, places.home):
            private.mkdir(mode=0o755, exist_ok=True)
            self._give(private)
        for pipe in folder.pipes:
            os.mkfifo(pipe, 0o600)
            self._give(pipe)  # programs open /dev/stdout by its path
        for _, content in folder.contents(spec):
            if volumes.make_content(content):
                self._give(content)
        given = [mount.source for mount in spec.mounts if mount.writable]
        for source in given if spec.bundle is None else [*given, spec.bundle]:
            self._give_tree(source)

    def _give(self, path: Path) -> None:
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)

    def _give_tree(self, source: str) -> None:
        """Writable mounts of a node that is root become the sandbox user's, once; so do bundles, else the writable
        layer over one would let nobody change what is in it. Only inside the data directory, so that no specification
        can give away a part of the system."""
        if self.uid is None or not Path(os.path.realpath(source)).is_relative_to(self.data):
            return
        if not os.path.lexists(source):
            raise Invalid("mounts.source", "must exist", value=source)
        if os.stat(source).st_uid == self.uid:
            return
        for _, folders, files, handle in os.fwalk(source):
            for name in folders + files:
                os.chown(name, self.uid, self.uid, dir_fd=handle, follow_symlinks=False)
        os.chown(source, self.uid, self.uid)

    def spawn(self, spec: UnitSpec, folder: Folder, limits: UnitGroups) -> subprocess.Popen[bytes]:
        """Start the unit's process. Raises like `prepare`."""
        status = os.open(folder.status, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        arguments = os.memfd_create("arguments", os.MFD_CLOEXEC)
        trouble = os.memfd_create("trouble", os.MFD_CLOEXEC)
        outputs = [os.open(pipe, os.O_RDWR | os.O_CLOEXEC) for pipe in folder.pipes]
        try:
            command = self._command(spec, folder, status, arguments)
            os.lseek(arguments, 0, os.SEEK_SET)
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=outputs[0],
                stderr=outputs[1],
                env={},  # the unit's own must not act on bubblewrap, which runs outside (LD_PRELOAD)
                cwd="/",
                umask=0o022,
                start_new_session=True,
                pass_fds=(status, arguments),
                preexec_fn=lambda: self._prepare_child(spec, folder, limits, trouble),
            )
        except subprocess.SubprocessError as error:
            number = int(os.pread(trouble, 16, 0) or b"0")
            raise OSError(number, os.strerror(number)) from error
        finally:
            for handle in (status, arguments, trouble, *outputs):
                os.close(handle)

    def _command(self, spec: UnitSpec, folder: Folder, status: int, arguments: int) -> list[str]:
        places = folder.places(self.etc)
        spec = _with_volumes_mounted(spec, folder)
        if self.bwrap is None:
            with os.fdopen(os.dup(arguments), "w") as file:
                json.dump(plain.description(spec, places, self.stage), file)
            program = [
                self.stage.reach(sys.executable, "python"),
                "-I",
                "-S",
                self.stage.reach(plain.__file__, "homeport"),
            ]
            return [*program, str(status), str(arguments)]
        words = ["--json-status-fd", str(status), *sandbox.arguments(spec, places, self.stage, self.overlay)]
        with os.fdopen(os.dup(arguments), "wb") as file:
            file.write(b"".join(os.fsencode(word) + b"\0" for word in words))
        program = [*(sandbox.task_limit(spec.max_processes) if self.groups.pids is None else ()), *spec.argv]
        return [self.stage.reach(str(self.bwrap), "bwrap"), "--args", str(arguments), "--", *program]

    @property
    def pids_method(self) -> str:
        by_rlimit = self.groups.pids is None and self.bwrap is not None and sandbox.task_limit(1)
        return "rlimit" if by_rlimit else self.groups.pids_method

    def _prepare_child(self, spec: UnitSpec, folder: Folder, limits: UnitGroups, trouble: int) -> None:
        """Runs in the child; what stands in the way is told through `trouble`, since `subprocess` does not."""
        try:
            self._become_unit(spec, folder, limits)
        except OSError as error:
            os.pwrite(trouble, str(error.errno or 0).encode(), 0)
            raise

    def _become_unit(self, spec: UnitSpec, folder: Folder, limits: UnitGroups) -> None:
        """Limits first, then identity, then the unprivileged user. Order matters."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        cgroups.join(limits)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_FSIZE, spec.largest_file_mb * 1024 * 1024)
        _lower(resource.RLIMIT_NOFILE, UNIT_FILES)
        if limits.pids is None:
            _limit_tasks(os.getuid() if self.uid is None else self.uid)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(_OOM_SCORE)
        folder.identity.write_text(f"{os.getpid()} {processes.start_ticks(os.getpid())} {processes.boot_id()}")
        if self.uid is not None:
            os.setgroups([])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)


def _with_volumes_mounted(spec: UnitSpec, folder: Folder) -> UnitSpec:
    """Its volumes as what they are on this machine: directories that are shown."""
    found = folder.contents(spec)
    shown = (Mount(source=str(path), target=mount.path, writable=mount.writable) for mount, path in found)
    return replace(spec, mounts=(*spec.mounts, *shown))


def _limit_tasks(uid: int) -> None:
    """Leave room for what the user runs already: the kernel counts all of it."""
    _lower(resource.RLIMIT_NPROC, processes.tasks_of_user(uid) + _TASK_CEILING)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard == resource.RLIM_INFINITY or hard > value:
        resource.setrlimit(limit, (value, value))
