"""Empties a directory whatever the modes below it. Run as a script by the supervisor, so that a unit's hundred thousand
files do not hold up the node: `python remove.py DIRECTORY`. Imports nothing of ours.
"""

import os
import shutil
import sys


def empty(folder: str) -> None:
    """Remove everything in `folder`, also what is added meanwhile. Raises OSError for what cannot be removed."""
    while names := os.listdir(folder):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isdir(path):
                os.unlink(path)
                continue
            _open(path)
            shutil.rmtree(path)


def _open(path: str) -> None:
    """Give the owner every right on each directory: overlayfs leaves one without any, programs may too."""
    os.chmod(path, 0o700)
    for parent, folders, _ in os.walk(path):
        for folder in folders:
            inside = os.path.join(parent, folder)
            if not os.path.islink(inside):
                os.chmod(inside, 0o700)


if __name__ == "__main__":
    empty(sys.argv[1])
