"""A bundle: a program with everything that it depends on, immutable, ready to be shown to a sandbox at /app.

A bundle is a directory DATA/bundles/<digest>/ with `app/` (the content) and `bundle.json` (how to run it). It appears
there by one rename and is never changed; it is read by the reconcile loops and the runner, made by the builder, and
removed by whoever owns the revisions.
"""

import errno
import json
import os
import shutil
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from homeport.build.errors import BuildFailed
from homeport.build.manifest import Manifest, parse_manifest
from homeport.core.errors import Internal
from homeport.core.private import sync_folder
from homeport.core.units import Mount

FILE_NAME = "bundle.json"
_ENV_OF = {"node": {"NODE_ENV": "production"}}  # what programs of a language are told unless they say otherwise
SYNCED_EACH = 64  # entries of a bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """app: the directory for `UnitSpec.bundle`. entrypoint: the argument list, run in /app; an agent's needs HOST and
    PORT in its environment. mounts: what the program needs besides (its interpreter). env: what programs of its
    language are told, and `[env]` of the manifest over it. size: bytes. note: what is to be told
    of this build of it; not kept.

    image: the engine's id of it, None for a program. image_source: where that comes from, by its content
    (`registry/name@sha256:…`), or nothing. brought: set where the engine has it because of this very build: the name
    that it was given there, or nothing. Both are told by who resolves or builds an image, and not kept with the bundle.
    """

    digest: str
    app: Path
    language: str
    entrypoint: tuple[str, ...]
    mounts: tuple[Mount, ...]
    env: dict[str, str]
    manifest: Manifest
    python: str
    source_digest: str
    created_at: str
    build_s: float
    image: str | None = None
    image_entrypoint: tuple[str, ...] = ()
    note: str = ""
    size: int = 0
    image_source: str = ""
    brought: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What `bundle.json` holds; written as a draft before the build starts, and again when it has ended. environment:
    by what its packages are known to a build that may take them."""

    digest: str
    language: str
    entrypoint: tuple[str, ...]
    mounts: tuple[Mount, ...]
    manifest_toml: str
    python: str
    source_digest: str
    started_at: str
    steps: tuple[tuple[str, str, str], ...]
    created_at: str = ""
    build_s: float = 0.0
    image: str | None = None
    image_entrypoint: tuple[str, ...] = ()
    size: int = 0
    environment: str = ""

    def write(self, directory: Path) -> None:
        """Write it into `directory`, whole or not at all."""
        part = directory / f"{FILE_NAME}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.rename(directory / FILE_NAME)


def read_description(directory: Path) -> Description | None:
    """What `directory` is described as, or None where it holds no description. Raises `Internal` for one that cannot
    be read."""
    path = directory / FILE_NAME
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        mounts = tuple(Mount(**mount) for mount in data["mounts"])
        steps = tuple((name, title, script) for name, title, script in data["steps"])
        return Description(
            **{
                **data,
                "mounts": mounts,
                "steps": steps,
                "entrypoint": tuple(data["entrypoint"]),
                "image_entrypoint": tuple(data.get("image_entrypoint", ())),
            }
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as exc:
        raise Internal(detail=f"{path} cannot be read: {exc}") from exc


def find_bundle(data_bundles: Path, digest: str) -> Bundle | None:
    """The bundle with this digest, or None where there is none."""
    directory = data_bundles / digest
    described = read_description(directory)
    if described is None:
        return None
    manifest = parse_manifest(described.manifest_toml)
    return Bundle(
        digest=digest,
        app=directory / "app",
        language=described.language,
        entrypoint=described.entrypoint,
        mounts=described.mounts,
        env={**_ENV_OF.get(described.language, {}), **manifest.env},
        manifest=manifest,
        python=described.python,
        source_digest=described.source_digest,
        created_at=described.created_at,
        build_s=described.build_s,
        image=described.image,
        image_entrypoint=described.image_entrypoint,
        size=described.size,
    )


def load_bundle(data_bundles: Path, digest: str) -> Bundle:
    """The bundle with this digest. Raises `Internal` where it is gone, since a revision refers to it."""
    bundle = find_bundle(data_bundles, digest)
    if bundle is None:
        raise Internal(detail=f"no bundle {digest} in {data_bundles}")
    return bundle


def remove_bundle(data_bundles: Path, digest: str) -> None:
    """Remove a bundle that nothing refers to. Harmless where it is gone."""
    going = data_bundles / f".{digest}.going"
    try:
        (data_bundles / digest).rename(going)  # at once out of sight, however long the removal takes
    except FileNotFoundError:
        pass
    remove_tree(going)


def seal(app: Path) -> None:
    """Make everything below `app` readable by all and writable by its owner only, and drop set-id bits.

    Nothing may run in `app` any more. The owner stays: it is the user of sandboxes, whose private writable layer over
    the bundle takes its permissions from here, so that a program may change its own copy of its files. The bundle
    itself is out of its reach: no sandbox is shown it otherwise than read-only or below that layer. Raises
    `BuildFailed` for a socket, pipe or device.
    """
    for path, mode in _entries(app):
        if stat.S_ISDIR(mode):
            path.chmod(0o755)
        elif stat.S_ISREG(mode):
            path.chmod(0o755 if mode & 0o111 else 0o644)
        elif not stat.S_ISLNK(mode):
            raise BuildFailed("Sealing the bundle", f"failed: {path.relative_to(app)} is not a file or a directory")


def place(work: Path, target: Path) -> None:
    """Move the finished directory `work` to `target`, where it is a bundle from then on, durably. Where a build of the
    same source was quicker, its bundle stays and `work` is removed."""
    _sync(work)  # a bundle must not be emptier after a power failure than its records say
    try:
        work.rename(target)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        sync_folder(target.parent)  # the quicker one may not have come so far
        remove_tree(work)
        return
    target.chmod(0o755)  # whoever may remove the data directory can
    sync_folder(target.parent)


def _sync(work: Path) -> None:
    """Make durable what is in `work`: a few files each, many by one call for the whole machine, which waits for what
    others write."""
    entries = _entries(work)
    if len(entries) > SYNCED_EACH:
        os.sync()
        return
    for path, mode in entries:
        if not stat.S_ISLNK(mode):  # the name of a link is its directory's
            sync_folder(path)  # of a file, what it holds


def size_of(directory: Path) -> int:
    """Bytes of the files below `directory`."""
    return sum(path.lstat().st_size for path, mode in _entries(directory) if stat.S_ISREG(mode))


def _entries(top: Path) -> list[tuple[Path, int]]:
    """Every path below `top`, what a directory holds before the directory itself, with its mode; links not followed."""
    found: list[tuple[Path, int]] = []
    pending = [top]
    while pending:
        path = pending.pop()
        mode = path.lstat().st_mode
        found.append((path, mode))
        if stat.S_ISDIR(mode):
            if not os.access(path, os.R_OK | os.X_OK):
                path.chmod(0o755)
            pending += path.iterdir()
    return found[::-1]


def remove_tree(path: Path) -> None:
    """Remove `path` and everything below, however its modes are set. Harmless where it is gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        path.unlink()
        return
    if os.geteuid() != 0:  # a directory that its owner may not write to cannot be emptied
        for found, found_mode in _entries(path):
            if stat.S_ISDIR(found_mode):
                found.chmod(0o755)
    shutil.rmtree(path)
