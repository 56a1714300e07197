"""Entries of zip archives that come out the same for the same content. Used by whoever packs a source."""

import stat
import zipfile
from pathlib import Path

DEV_MARK = ".homeport-dev"  # an empty file: the source is one of `homeport dev`, and its command is that of development
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def add_entry(packed: zipfile.ZipFile, path: Path, name: str) -> None:
    """Add the file at `path` as `name`; a `name` that ends with / is a directory, and `path` is not read."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # unix, so that modes mean something
    if name.endswith("/"):
        info.external_attr = (stat.S_IFDIR | 0o755) << 16 | 0x10
        packed.writestr(info, b"")
        return
    # Only whether it may be executed is kept: other bits differ between machines and would change the digest.
    mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
    info.external_attr = (stat.S_IFREG | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    with path.open("rb") as source, packed.open(info, "w", force_zip64=True) as target:
        while block := source.read(1024 * 1024):
            target.write(block)
