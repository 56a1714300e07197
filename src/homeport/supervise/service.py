"""Homeport as a systemd service: its unit, and what of it is installed. Called by `homeport service`.

The unit runs `homeport up` in the foreground. A system unit where root asks, else one of the user's own manager, which
runs at boot only if the user lingers. Nothing here starts a component: `up` does.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from homeport.core.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from homeport.core.private import replace_text, sync_folder
from homeport.settings import DataDir

_RUNNING = Path("/run/systemd/system")  # there while systemd runs the machine
_SYSTEM_UNITS = Path("/etc/systemd/system")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
_OURS = "# Written by `homeport service install`."
_DATA = "# Data directory: "
# What a stop needs besides the time for what is under way: the node ends its programs within 40 s, others within 10 s.
_STOP_S = 120
_START_S = 600  # `up` has shorter bounds of its own; these are for all of them together
_ASK_S = 600.0  # for one command of systemctl; a start waits until everything answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One unit. words: the options of `up`. drain_s: among them, how long a stop waits. user: in the user's own
    manager."""

    name: str
    data: DataDir
    words: tuple[str, ...] = ()
    drain_s: float = 30
    user: bool = False

    @property
    def unit(self) -> str:
        return f"{self.name}.service"

    @property
    def path(self) -> Path:
        if not self.user:
            return _SYSTEM_UNITS / self.unit
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(config) / "systemd" / "user" / self.unit

    @property
    def command(self) -> tuple[str, ...]:
        """What it runs: this very Python, so that an upgrade in its place is an upgrade of the service."""
        return (sys.executable, "-m", "homeport.supervise", "--data", str(self.data.root), *self.words)


def named(name: str, data: DataDir, words: Sequence[str] = (), drain_s: float = 30) -> Service:
    """The service of that name for whoever asks. Raises `Invalid`."""
    if not _NAME.fullmatch(name):
        raise Invalid("--name", "must be 1 to 61 letters, digits, '-', '_' or '.'", value=name)
    return Service(name=name, data=data, words=tuple(words), drain_s=drain_s, user=os.geteuid() != 0)


def unit_text(service: Service) -> str:
    """The unit file.

    KillMode=process: `up` ends everything itself when it is asked to stop; where it dies, programs and gateway go on
    and the next one, which Restart starts, adopts them. Of a whole group that systemd kills nothing would be left.
    """
    wanted = "default.target" if service.user else "multi-user.target"
    return f"""{_OURS}
{_DATA}{service.data.root}
[Unit]
Description=Homeport, a cloud for AI agents
{"" if service.user else "Wants=network-online.target" + chr(10) + "After=network-online.target" + chr(10)}\
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(_quoted, service.command))}
Restart=on-failure
RestartSec=2
# 2, 3: the options, or the rights, are wrong. To try again changes nothing.
RestartPreventExitStatus=2 3
# When up is asked to stop it ends everything; when it dies, what runs goes on and the next up adopts it.
KillMode=process
TimeoutStartSec={_START_S}
TimeoutStopSec={round(service.drain_s) + _STOP_S}
OOMPolicy=continue
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
UMask=0022

[Install]
WantedBy={wanted}
"""


def install(service: Service, *, start: bool) -> list[str]:
    """Write the unit, have it start at boot and, with `start`, now; returns what was done, in sentences. Repeating it
    changes nothing. Raises `Unavailable` without systemd, `Conflict` where something else is in the way."""
    require_systemd(service)
    text, before = unit_text(service), _read(service.path)
    if before is not None and _data_of(before) != str(service.data.root):
        whose = f"for the data directory {_data_of(before)}" if _data_of(before) else "and was not made by this command"
        raise Conflict(f"{service.path} is there {whose}.", hint="Choose another name with --name.")
    active = _is(service, "active")
    if start and not active:
        _refuse_second_up(service.data)
    done = []
    if text != before:
        _write(service.path, text)
        _systemctl(service, "daemon-reload")
        done.append(f"{service.path} {'written' if before is None else 'changed'}")
    if not _is(service, "enabled"):
        _systemctl(service, "enable", "--quiet", service.unit)
        done.append("it starts at boot")
    if start and not active:
        _systemctl(service, "start", service.unit)
        done.append("it runs")
    elif active and text != before:
        done.append(f"the change counts from the next start: `{_words(service)} restart {service.name}`")
    return done or [f"{service.unit} is installed as it is wanted; nothing to do"]


def uninstall(service: Service) -> list[str]:
    """Stop it in order, and remove the unit. The data directory stays. Raises `NotFound`, `Conflict`."""
    require_systemd(service)
    before = _read(service.path)
    if before is None:
        raise NotFound(f"There is no {service.path}.", hint="`homeport service status` shows what is installed.")
    if not before.startswith(_OURS):
        raise Conflict(f"{service.path} was not made by `homeport service install`.", hint="Remove it by hand.")
    # One systemd does not know of (the file was put there by hand) has nothing to stop.
    _systemctl(service, "disable", "--now", "--quiet", service.unit)
    service.path.unlink(missing_ok=True)
    _systemctl(service, "daemon-reload")
    return [f"{service.unit} stopped and removed; {_data_of(before)} stays as it is"]


def status(service: Service) -> dict[str, object]:
    """What is installed, and what systemd says of it."""
    require_systemd(service)
    text = _read(service.path)
    wanted = "ActiveState,SubState,UnitFileState,MainPID,ActiveEnterTimestamp,NRestarts,Result"
    shown = _ask(service, "show", f"--property={wanted}", service.unit).stdout
    facts = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {
        "unit": service.unit,
        "path": str(service.path),
        "installed": text is not None,
        "data": _data_of(text) if text else None,
        "active": facts.get("ActiveState", "unknown"),
        "state": facts.get("SubState", "unknown"),
        "atBoot": facts.get("UnitFileState") == "enabled",
        "lingers": _lingers() if service.user else None,
        "pid": int(facts.get("MainPID") or 0) or None,
        "since": facts.get("ActiveEnterTimestamp") or None,
        "restarts": int(facts.get("NRestarts") or 0),
        "result": facts.get("Result") or None,
    }


def remarks(service: Service) -> list[str]:
    """What the person should do besides."""
    if service.user and not _lingers():
        lingering = f"`loginctl enable-linger {_user()}` has it start at boot"
        return [f"It starts when you log in and ends when you log out; {lingering}."]
    return []


def require_systemd(service: Service) -> None:
    """Raises `Unavailable` where there is no service manager to install into."""
    if not _RUNNING.is_dir():
        option = f"--data {service.data.root} {' '.join(service.words)}".strip()
        raise Unavailable(
            "systemd does not run on this machine.",
            hint=f"Have what starts programs here at boot run `homeport up {option} --detach`; "
            "`homeport service install --print` shows a unit for another machine.",
        )
    if service.user and _ask(service, "show-environment").returncode:
        raise Unavailable(
            "Your own systemd (systemctl --user) does not answer.",
            hint="Log in on this machine itself, not by su, or install for the whole machine as root.",
        )


def _refuse_second_up(data: DataDir) -> None:
    from homeport.supervise.state import read_state  # late: what only prints a unit reads no state

    state = read_state(data)
    if state.supervisor is not None and state.supervisor.lives():
        raise Conflict(
            f"Homeport already runs with {data.root}: process {state.supervisor.pid}.",
            hint=f"Stop it with `homeport down --data {data.root}` and repeat this, or add --no-start.",
        )


def _quoted(word: str) -> str:
    """One word of ExecStart: systemd's own quotes, `%` and `$` doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", escaped) else f'"{escaped}"'


def _data_of(text: str) -> str:
    """The data directory in a unit of ours, empty in any other."""
    lines = text.splitlines()
    ours = len(lines) > 1 and lines[0] == _OURS and lines[1].startswith(_DATA)
    return lines[1].removeprefix(_DATA) if ours else ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text, path.with_name(f".{path.name}.new"))
    except OSError as exc:
        raise Denied(f"{path} cannot be written: {exc.strerror}.") from exc
    sync_folder(path.parent)


def _is(service: Service, state: str) -> bool:
    return _ask(service, f"is-{state}", "--quiet", service.unit).returncode == 0


def _systemctl(service: Service, *words: str) -> None:
    done = _ask(service, *words)
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        journal = f"journalctl {'--user ' if service.user else ''}-u {service.unit} -n 30"
        raise Unavailable(f"`{_words(service)} {' '.join(words)}` failed: {said}", hint=f"See `{journal}`.")


def _ask(service: Service, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["systemctl", *(["--user"] if service.user else []), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"`{' '.join(command)}` failed: {exc}.") from exc


def _words(service: Service) -> str:
    return "systemctl --user" if service.user else "systemctl"


def _lingers() -> bool:
    return Path("/var/lib/systemd/linger", _user()).exists()


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
