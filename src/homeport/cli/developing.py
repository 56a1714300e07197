"""`homeport dev`: a folder served as it changes, by the ordinary way of a deployment.

Each change is packed and deployed under a name of its own, NAME-dev; the version before serves until the new one does.
So what runs here runs as it will when it is deployed: same build, same sandbox, same limits, same gateway. At the end
the workload and what was built for it are removed.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from homeport.cli.manifest import Flags, Order, read_order
from homeport.cli.output import printable, warn
from homeport.cli.variables import read_files
from homeport.cli.watched import ENV_FILE, Watched
from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.errors import Conflict, HomeportError, NotFound
from homeport.core.ids import Kind, check_name
from homeport.workloads.states import SETTLED, WorkloadStatus

if TYPE_CHECKING:
    from homeport.client import Homeport

_MARK = "homeport-dev"  # the label of what is ours: the process that serves it, and its machine
_OWN_NAME = "-dev"
_DEPENDENCIES = ("requirements.txt", "pyproject.toml", "uv.lock", "package.json", "package-lock.json", "pnpm-lock.yaml")
# What the deployed one owns: a path, a schedule and a volume have one owner, and data are not to be tried things on.
_LEFT_OUT = ("triggers", "volumes", "revision")
_LOOK_S = 0.05  # between two looks whether it is gone
_AGAIN_S = 0.5  # before the output is asked for again: none yet, or nobody writes any more
_GONE_S = 30.0  # a program's grace at its end, and some


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to serve. name: without the `-dev`; None for that of the folder. flags: of `deploy`."""

    folder: Path
    flags: Flags

    def order(self) -> Order:
        """As `deploy` would send it, under its own name. Raises `Invalid`."""
        own_env = self.folder / ENV_FILE
        secrets = {**(read_files([own_env]) if own_env.is_file() else {}), **self.flags.secrets}
        variables = {"BL_HOTRELOAD": "true", **self.flags.variables}
        found = read_order(self.folder, replace(self.flags, secrets=secrets, variables=variables))
        name = check_name(f"{found.name}{_OWN_NAME}", "--name")
        spec = {key: value for key, value in found.resource["spec"].items() if key not in _LEFT_OUT}
        labels = {**found.resource["metadata"]["labels"], _MARK: _process()}
        return replace(found, resource={"metadata": {"name": name, "labels": labels}, "spec": spec})

    def left_out(self) -> list[str]:
        spec = read_order(self.folder, self.flags).resource["spec"]
        return [key for key in _LEFT_OUT if spec.get(key)]


class Session:
    """One folder served until the caller is interrupted."""

    def __init__(self, client: "Homeport", wanted: Wanted, connect: Callable[[], "Homeport"]) -> None:
        """connect: another client of the same installation, for the thread that reads output."""
        self._client = client
        self._wanted = wanted
        self._connect = connect
        self._watched = Watched(wanted.folder)
        self._served = False
        self._sent: tuple[Any, str] | None = None

    def run(self) -> None:
        """Serve, deploy each change, until Ctrl-C; then leave nothing."""
        order = self._wanted.order()
        for text in order.warnings:
            warn(text)
        if omitted := self._wanted.left_out():
            warn(f"not used by `homeport dev`: {', '.join(omitted)} of blaxel.toml.")
        _claim(self._client, order)
        try:
            with _printed(self._connect, order):
                changed = ["everything"]
                while True:
                    changed = self._serve(changed)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # it takes a moment, and a second one would leave it there
            say(f"removing {order.name}")
            _remove(self._client, order)

    def _serve(self, changed: list[str]) -> list[str]:
        """Deploy what is there; returns what has changed since, as soon as something has."""
        began = time.monotonic()
        try:
            order = self._wanted.order()
            applied = self._send(order)
            if applied is not None:
                return self._follow(order, applied, changed, began) or self._watched.wait()
        except HomeportError as error:
            say(f"not deployed: {error.for_caller()}")
        return self._watched.wait()

    def _send(self, order: Order) -> str | None:
        """When it was accepted; None where nothing is new."""
        from homeport.client.archive import pack

        with closing(pack(self._wanted.folder, mark=True)) as archive:
            if (order.resource, archive.digest) == self._sent:
                return None
            applied = self._client.apply(order.kind, order.resource, upload=not order.image)
            if not order.image and applied.upload_url:
                self._client.upload(applied.upload_url, archive)
            self._sent = (order.resource, archive.digest)
            return str(applied.resource.get("metadata", {}).get("updatedAt"))

    def _follow(self, order: Order, since: str, changed: list[str], began: float) -> list[str]:
        """Wait for the end of a deployment and say it; returns early with what has changed meanwhile."""
        from homeport.cli.following import Follower

        if changed == ["everything"] or any(name in _DEPENDENCIES for name in changed):
            follower = Follower(self._client, order.kind, order.name, since=since)
            self._tell(order, follower.follow(), since, began)
            return []
        later: list[str] = []
        while not later:
            resource = self._client.get(order.kind, order.name)
            if resource.get("status") in SETTLED:
                self._tell(order, resource, since, began)
                break
            later = self._watched.changes()
        return later

    def _tell(self, order: Order, resource: dict[str, Any], since: str, began: float) -> None:
        from homeport.cli.following import reason_of

        took = f"{time.monotonic() - began:.1f} s"
        if resource.get("status") not in (WorkloadStatus.FAILED, WorkloadStatus.DEACTIVATED):
            say(f"{'reloaded' if self._served else 'ready'} in {took}: {_address(self._client, order)}")
            self._served = True
            return
        if not _was_built(resource, since):  # else what it printed itself stands there already
            self._build_output(order, since)
        kept = "the version before serves on" if self._served else "nothing serves yet"
        say(f"failed after {took}, {kept}: {reason_of(resource)}")

    def _build_output(self, order: Order, since: str) -> None:
        from homeport.client.http import LogQuery

        with suppress(NotFound):
            for line in self._client.logs(order.kind, order.name, LogQuery(source="build", since=since, tail=40)):
                say(f"build | {line.get('text', '')}")


def say(text: str) -> None:
    """A line of our own, with the time."""
    print(f"{_clock(SystemClock().now())} homeport | {printable(text)}", flush=True)


def _was_built(resource: dict[str, Any], since: str) -> bool:
    events = resource.get("events") or ()
    return any(event.get("reason") == "Built" and str(event.get("time")) >= since for event in events)


def _address(client: "Homeport", order: Order) -> str:
    if order.kind is Kind.JOB:
        return f"try `homeport run job {order.name} --data '[{{}}]'`"
    return client.address(order.kind, order.name, "mcp" if order.kind is Kind.FUNCTION else "")


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")


def _process() -> str:
    import os

    from homeport.supervise.processes import identify

    own = identify(os.getpid())
    return f"{own.pid}.{own.started}.{gethostname()}" if own else ""


def _claim(client: "Homeport", order: Order) -> None:
    """Raises `Conflict` where the name belongs to somebody else. What a session that was killed has left is taken, but
    for one of another machine: nobody can tell here whether it lives."""
    from homeport.supervise.processes import identify

    try:
        found = client.get(order.kind, order.name)
    except NotFound:
        return
    mark = (found.get("metadata", {}).get("labels") or {}).get(_MARK)
    if not mark:
        message = f"{order.kind} {order.name} is there, and `homeport dev` did not make it."
        raise Conflict(message, hint="Choose another name with --name; `-dev` is added to it.")
    pid, started, machine = (*str(mark).split(".", 2), "", "")[:3]
    if machine != gethostname():
        message = f"`homeport dev` serves {order.name} from another machine: {machine or 'its name is not known'}."
        hint = f"Use --name. If nothing serves it there any more: `homeport delete {order.kind} {order.name}`."
        raise Conflict(message, hint=hint)
    holder = identify(int(pid)) if pid.isdigit() else None
    if holder is not None and str(holder.started) == started and mark != _process():
        raise Conflict(f"`homeport dev` serves {order.name} already: process {pid}.", hint="Stop it, or use --name.")


def _remove(client: "Homeport", order: Order) -> None:
    """The workload, and what was built for it."""
    try:
        client.delete(order.kind, order.name)
    except NotFound:
        return
    deadline = time.monotonic() + _GONE_S
    with suppress(NotFound):
        while time.monotonic() < deadline:
            client.get(order.kind, order.name)
            time.sleep(_LOOK_S)
    with suppress(NotFound):
        client.delete_image(f"{order.kind.value}/{order.name}")


@contextmanager
def _printed(connect: Callable[[], "Homeport"], order: Order) -> Iterator[None]:
    """The program's output on standard output while the block runs."""
    over = threading.Event()

    def read() -> None:
        since, shown = timestamp(SystemClock().now()), set[tuple[str, str]]()
        with connect() as client:
            while not over.is_set():
                with suppress(HomeportError):  # nothing of it yet, or the server is being started again
                    for line in _lines(client, order, since):
                        key = (str(line.get("time")), str(line.get("text")))
                        if key[0] > since:
                            since, shown = key[0], set()
                        if key not in shown:
                            shown.add(key)
                            print(f"{_clock(parse_timestamp(key[0]))} {order.name} | {printable(key[1])}", flush=True)
                over.wait(_AGAIN_S)

    threading.Thread(target=read, name="output", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _lines(client: "Homeport", order: Order, since: str) -> Iterator[dict[str, Any]]:
    from homeport.client.http import LogQuery

    return client.logs(order.kind, order.name, LogQuery(follow=True, since=since))
