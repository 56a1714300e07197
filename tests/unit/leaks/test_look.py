"""Looking again until it is certain, also where one look takes long."""

from pathlib import Path
from typing import Any

import pytest

from homeport.leaks import look as looking
from homeport.leaks.finding import Finding
from homeport.settings import DataDir

FOUND = Finding(kind="socket", name="old", why="nobody listens", action=looking.__name__)


class Watch:
    """A machine where a look takes `look_s` seconds."""

    now = 0.0

    def monotonic(self) -> float:
        return Watch.now


@pytest.mark.parametrize("look_s", [0.1, 3.0, 300.0])
def test_what_stays_is_found_however_long_a_look_takes(look_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(_: DataDir) -> Any:
        Watch.now += look_s

    monkeypatch.setattr(looking, "SystemClock", Watch)
    monkeypatch.setattr(looking, "observe", observe)
    monkeypatch.setattr(looking, "check", lambda _: [FOUND])
    monkeypatch.setattr(looking.time, "sleep", lambda _: None)
    assert looking.leaks(DataDir(Path("/data")), 1.0) == [FOUND]
