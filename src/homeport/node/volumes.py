"""Where the content of volumes is on this machine. Used by the launcher and the supervisor.

A volume that outlives units has DATA/volumes/ID/content, made when a unit is first started with it; what a unit gets
for itself is in its own directory and goes with it. Only the content is shown to programs: nothing that they do to it
leads to the directory above, whose name and place stay ours.
"""

from collections.abc import Iterator
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.ids import UnitId
from homeport.core.units import UnitSpec, VolumeMount, check_id

OWN = "volumes"  # of a unit's directory: what begins empty and goes with the unit
TRASH = "trash"  # of DATA/volumes: on the same disk as what is thrown away, wherever the operator has put that


def make_root(root: Path) -> None:
    """DATA/volumes. Raises OSError."""
    for folder in (root, root / TRASH):
        folder.mkdir(mode=0o711, exist_ok=True)
        folder.chmod(0o711)


def folder_of(root: Path, volume: str) -> Path:
    """All that there is of a volume. Raises `Invalid` for an id that is none."""
    check_id(UnitId(volume))
    if volume == TRASH:
        raise Invalid("volume", "must be the id of a volume", value=volume)
    return root / volume


def content_of(mount: VolumeMount, number: int, root: Path, unit: Path) -> Path:
    """The directory that is shown; `number`: its place among the unit's volumes. unit: the unit's own directory."""
    return folder_of(root, mount.volume) / "content" if mount.volume is not None else unit / OWN / str(number)


def contents(spec: UnitSpec, root: Path, unit: Path) -> Iterator[tuple[VolumeMount, Path]]:
    """The unit's volumes, each with its directory."""
    return ((mount, content_of(mount, number, root, unit)) for number, mount in enumerate(spec.volumes))


def make_content(path: Path) -> bool:
    """Make the directory of a volume if it is not there; whether it is new. Raises OSError."""
    for above in (path.parent.parent, path.parent):
        if not above.exists():
            above.mkdir(mode=0o711)
            above.chmod(0o711)
    if path.is_dir() and not path.is_symlink():
        return False
    path.mkdir(mode=0o755)
    return True
