"""Files that hold keys: made whole and durable, readable by their owner only. Used by whoever keeps a key on disk; and
what makes a name durable, for whoever keeps anything there."""

import logging
import os
import secrets
import stat
from pathlib import Path

log = logging.getLogger(__name__)

_RANDOM_BYTES = 8  # in the name of a draft


def read_private(path: Path) -> bytes:
    """The file's bytes. One that others could read is closed to them, with a warning. Raises `FileNotFoundError`."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            log.warning("the key %s was readable by others (mode %o); now it is not", path, mode)
            os.fchmod(file.fileno(), 0o600)
        return file.read()


def write_once(path: Path, content: bytes) -> None:
    """Make `path` with `content`, whole and durable, unless somebody else has made it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another first start was quicker: its key counts
    finally:
        draft.unlink()
    sync_folder(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file at once, whole and durable; its owner stays."""
    owner = path.stat()
    draft = _draft(path, content)
    try:
        if owner.st_uid != os.geteuid():
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_drafts(path: Path) -> None:
    """Remove what a writer of `path` left that was killed. Only while nobody else can be writing it."""
    for draft in drafts_of(path):
        draft.unlink(missing_ok=True)


def drafts_of(path: Path) -> list[Path]:
    """What writers of `path` work on, or have left."""
    return [*path.parent.glob(f".{path.name}.{'[0-9a-f]' * 2 * _RANDOM_BYTES}")]


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def replace_text(path: Path, text: str, draft: Path) -> None:
    """Have `path` hold `text`, all of it or what it held before, also after a loss of power; not private. Raises
    OSError, and leaves no draft then."""
    try:
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else some file systems keep the new name with nothing in it
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a file that was moved there and synchronised may otherwise be gone, name and
    all, after a loss of power."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
