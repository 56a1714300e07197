"""Where files of units go to be removed, by a process of its own, so that a hundred thousand of them do not hold up the
node. Owned by the supervisor.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from homeport.core.private import sync_folder
from homeport.core.service import Background
from homeport.node import remove
from homeport.node.scripts import run_script

log = logging.getLogger(__name__)

EMPTY_WAIT_S = 10.0  # for the files of the last units; what is left then goes at the next start
AGAIN_S = 5.0  # after a remover that could not run, such as without a free process


class Trash:
    """`folder` exists and is on the file system of what is thrown away."""

    def __init__(self, folder: Path, background: Background) -> None:
        self._folder = folder
        self._background = background
        self._late: list[Path] = []  # could not be moved yet, such as on a disk that cannot be written
        self._swept = asyncio.Event()
        self._swept.set()

    def throw_away(self, *paths: Path) -> None:
        """Take `paths` out of the way at once; their removal follows. Never raises."""
        waiting, self._late = [*self._late, *paths], []
        for path in waiting:
            try:
                self._take(path)
            except OSError as error:
                log.warning("%s cannot be thrown away yet: %s", path, error.strerror)
                self._late.append(path)
        self.sweep()

    def throw_away_now(self, path: Path) -> None:
        """The same, and it is out of the way when this returns. Raises OSError."""
        self._take(path)
        sync_folder(path.parent)
        self.sweep()

    def _take(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.rename(self._folder / f"{path.name}.{os.urandom(8).hex()}")

    def sweep(self) -> None:
        """See to it that a remover runs while there is anything."""
        if self._swept.is_set() and any(self._folder.iterdir()):
            self._swept.clear()
            self._background.spawn("sweep", self._empty())

    async def emptied(self) -> None:
        """Wait for the remover, within a bound, so that whoever stopped us may remove the rest."""
        try:
            await asyncio.wait_for(self._swept.wait(), EMPTY_WAIT_S)
        except TimeoutError:
            log.warning("private files of ended units are still being removed from %s", self._folder)

    async def _empty(self) -> None:
        """One remover at a time; what comes meanwhile is taken along."""
        try:
            done = await self._remove()
        except OSError as error:
            log.warning("files cannot be removed yet: %s", error.strerror)
            done = False
        finally:
            self._swept.set()
        if done:
            self.sweep()
        else:
            await asyncio.sleep(AGAIN_S)
            self.sweep()

    async def _remove(self) -> bool:
        """Run a remover to its end; False when something could not be removed. Raises OSError when none can run."""
        code, _ = await run_script(remove.__file__, str(self._folder))
        if code != 0:
            log.error("private files of ended units could not be removed from %s", self._folder)
            return False
        return True
