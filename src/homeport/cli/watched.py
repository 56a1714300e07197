"""A folder that is watched for changes, by looking at it: every file system can be looked at, and needs no library.

What counts is what would be packed, but for what git ignores, and `.env`. Used by `homeport dev`.
"""

import subprocess
import time
from pathlib import Path

_LOOK_S = 0.2  # between two looks; a thousand files take some ten milliseconds of each
_GIT_S = 10.0
ENV_FILE = ".env"

Seen = dict[str, tuple[int, int]]


class Watched:
    """One folder, compared with what it held when it was last looked at, or at the beginning."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._look()

    def wait(self) -> list[str]:
        """As `changes`, as soon as there are some."""
        while not (found := self.changes()):
            pass
        return found

    def changes(self) -> list[str]:
        """The names of what has changed, a moment from now and once nothing changes any more."""
        time.sleep(_LOOK_S)
        now = self._look()
        changed = sorted(name for name in {*now, *self._seen} if now.get(name) != self._seen.get(name))
        if not changed:
            return []
        while (later := self._look()) != now:  # an editor, or a checkout, is still writing
            now = later
            time.sleep(_LOOK_S / 4)
        self._seen = now
        ignored = self._ignored(changed)
        return [name for name in changed if name not in ignored]

    def _look(self) -> Seen:
        from homeport.client.archive import sources

        found: Seen = {}
        for path, name in [*sources(self._folder), (self._folder / ENV_FILE, ENV_FILE)]:
            try:
                facts = path.stat()
            except OSError:
                continue  # gone since it was listed
            found[name] = (facts.st_mtime_ns, facts.st_size)
        return found

    def _ignored(self, names: list[str]) -> set[str]:
        """Which of these git ignores; none where the folder is no repository, or git is not here."""
        command = ["git", "-C", str(self._folder), "check-ignore", "-z", "--stdin"]
        text = "\0".join(name for name in names if name != ENV_FILE)
        try:
            told = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_GIT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return set()
        return {*told.stdout.split("\0")} - {""}
