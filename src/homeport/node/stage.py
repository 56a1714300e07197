"""A private view of the file system for sandboxes that drop from root to an unprivileged user.

The unprivileged user cannot pass directories such as /root, yet the interpreter or the data directory may lie below
one. So the node moves into its own mount namespace and binds what lies behind such a directory onto a stage that this
user can pass. Nobody else sees the stage: not the host, not a unit. Used at the node's start and for every source that
a unit is shown. As an ordinary user there is no stage, and paths are what they are.
"""

import ctypes
import os
from pathlib import Path

from homeport.core.errors import Invalid

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def stage_folder(name: str) -> Path:
    """Where the node of the installation that calls its groups `name` has its stage, and the empty directory that a
    killed one leaves."""
    return Path(f"/run/{name}-stage")


class Stage:
    """`reach` turns a path of the host into one that the sandbox user can open."""

    def __init__(self, user: int | None) -> None:
        """user: the unprivileged uid that units get, None when the node's own."""
        self._user = user
        self._folder: Path | None = None
        self._bound: dict[Path, Path] = {}
        self.reason = "the node is not root" if user is None else "not entered"

    def enter(self, folder: Path) -> None:
        """Move this process into a mount namespace of its own, with an empty stage at `folder`. Where the kernel
        refuses (no CAP_SYS_ADMIN), `reason` says so and plain paths are used."""
        if self._user is None:
            return
        try:
            private_mounts()
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            _mount("homeport", str(folder), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=711,size=1m")
        except OSError as error:
            self.reason = f"no private mounts: {error.strerror}"
            return
        self._folder, self.reason = folder, ""

    def leave(self) -> None:
        """Take the stage down. Running sandboxes hold mounts of their own and notice nothing."""
        if self._folder is not None:
            for target in [*self._bound.values(), self._folder]:
                _libc.umount2(os.fsencode(target), _MNT_DETACH)
            self._folder.rmdir()
            self._folder = None

    def reach(self, path: str, field: str) -> str:
        """Where the sandbox user finds `path` (symbolic links resolved). Raises `Invalid` with `field` when it does
        not exist or cannot be reached."""
        real = Path(os.path.realpath(path))
        if not path.startswith("/") or not real.exists():
            raise Invalid(field, "must be an existing absolute path", value=path)
        if self._user is None:
            return str(real)
        closed = next((folder for folder in real.parents if not self._passes(folder)), None)
        if closed is None:
            return str(real)
        if self._folder is None:
            rule = f"must be reachable for the user {self._user}, and {closed} is closed to it"
            raise Invalid(field, rule, value=path, hint=f"Move it, or run `chmod o+x {closed}`; {self.reason}.")
        top = closed / real.relative_to(closed).parts[0]
        return str(self._bind(top) / real.relative_to(top))

    def _passes(self, folder: Path) -> bool:
        """May the sandbox user walk through? Read from the mode; access control lists are not looked at."""
        found = folder.stat()
        mine = found.st_uid == self._user
        return bool(found.st_mode & (0o100 if mine else 0o001))

    def _bind(self, source: Path) -> Path:
        """One bind for each directory behind a closed one; few, since what lies deeper is reached through it."""
        assert self._folder is not None
        found = source.stat()
        target = self._bound.get(source)
        if target is not None and target.stat().st_ino == found.st_ino:
            return target
        if target is None:
            target = self._folder / f"{len(self._bound)}"
            target.mkdir(mode=0o711) if source.is_dir() else target.touch()
        else:
            _check(_libc.umount2(os.fsencode(target), _MNT_DETACH))  # removed and made anew on the host
        bind(str(source), str(target))
        self._bound[source] = target
        return target


def private_mounts() -> None:
    """Move this process into a mount namespace of its own, of which the host sees nothing. Raises OSError."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)


def bind(source: str, target: str) -> None:
    """Show `source` at `target`, an existing directory or file. Raises OSError."""
    _mount(source, target, None, _MS_BIND | _MS_REC, None)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
