"""Settings and the layout of the data directory. Read once by the composition roots and the CLI, passed down as values.

Everything that Homeport keeps is in one directory. Its own parts are readable by the owner only; what sandboxes are
shown (bundles, unit directories) stands under names that other users may pass through but not list.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from homeport.core.private import sync_folder

DEFAULT_PORT = 8080
SOCKET_PATH_BYTES = 100  # a unix socket's path may have 107 bytes; room for the longest name


def default_data() -> Path:
    """Where data go when `--data` is absent: /var/lib/homeport for root, else below the XDG data directory."""
    if chosen := os.environ.get("HOMEPORT_DATA"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/homeport")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "homeport"


@dataclass(frozen=True, slots=True)
class DataDir:
    """The paths of one installation."""

    root: Path

    @property
    def admin_key(self) -> Path:
        return self.root / "admin-key"

    @property
    def database(self) -> Path:
        return self.root / "homeport.db"

    @property
    def signing_key(self) -> Path:
        return self.root / "keys" / "signing.json"

    @property
    def sealing_key(self) -> Path:
        return self.root / "keys" / "sealing.json"

    @property
    def config(self) -> Path:
        """The operator's own settings (TOML). Optional."""
        return self.root / "config.toml"

    @property
    def known_hosts(self) -> Path:
        """The ssh hosts from which repositories are fetched, in the format of OpenSSH. Optional."""
        return self.root / "ssh_known_hosts"

    @property
    def state(self) -> Path:
        """What `up` knows of the running system (JSON): port, processes with pid and start time, sandbox facts."""
        return self.root / "up.json"

    @property
    def lock(self) -> Path:
        return self.root / "up.lock"

    @property
    def stop_request(self) -> Path:
        """How many seconds `homeport down` lets what is under way go on."""
        return self.sockets / "drain"

    @property
    def pause_mark(self) -> Path:
        """There while a stop is under way: a server that starts then starts nothing new."""
        return self.sockets / "pause"

    @property
    def reserve(self) -> Path:
        """Room that is given back when the disk is full (homeport.core.space)."""
        return self.root / "reserve"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, process: str) -> Path:
        """The log of `up` or of a component."""
        return self.logs / f"{process}.log"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def builds(self) -> Path:
        return self.root / "builds"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def volumes(self) -> Path:
        """The content of volumes, by their id, and what of them is on its way out."""
        return self.root / "volumes"

    @property
    def node(self) -> Path:
        return self.root / "node"

    def engine(self, region: str) -> Path:
        """What the driver of a region with an engine keeps."""
        return self.root / "engines" / region

    @property
    def sockets(self) -> Path:
        """The directory of our unix sockets, mode 700. A short one elsewhere when the data directory's path is too
        long for a socket address."""
        inside = self.root / "run"
        if len(os.fsencode(inside)) + len("/envoy-admin.sock") <= SOCKET_PATH_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"homeport-{os.geteuid()}-{digest}"

    def socket(self, name: str) -> Path:
        """The socket of a part: `server`, `internal`, `edge`, `node`, `xds`, `gateway` or `envoy-admin`."""
        return self.sockets / f"{name}.sock"

    @property
    def envoy_config(self) -> Path:
        """What Envoy starts with. No other process has it in its command."""
        return self.sockets / "envoy.json"

    def create(self) -> None:
        """Make every directory with its mode, durably. Safe to repeat."""
        new = not self.root.exists()
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o711)
        for private in (self.signing_key.parent, self.logs, self.uploads, self.sources, self.sockets):
            private.mkdir(parents=True, exist_ok=True, mode=0o700)
            private.chmod(0o700)
        for passable in (self.builds, self.bundles, self.cache, self.volumes, self.node):
            passable.mkdir(parents=True, exist_ok=True)
            passable.chmod(0o711)
        sync_folder(self.root)
        if new:
            with contextlib.suppress(PermissionError):  # one that may be written to and not be read
                sync_folder(self.root.parent)

    def remove_sockets(self) -> None:
        """Once nothing of the installation runs: `create` makes the directory anew. Never raises."""
        shutil.rmtree(self.sockets, ignore_errors=True)
