"""What `homeport delete` says while it waits."""

from typing import Any

import pytest

from homeport.cli.commands import deleting
from homeport.core.errors import NotFound
from homeport.core.ids import Kind


class Server:
    """Has it for so many looks more."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def get(self, kind: Kind, name: str) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise NotFound(f"There is no {kind} {name!r}.")


@pytest.mark.parametrize(("slow_s", "said"), [(-1.0, 1), (60.0, 0)])
def test_a_deletion_that_takes_long_says_once_where_to_look(
    slow_s: float, said: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deleting, "_SLOW_S", slow_s)
    monkeypatch.setattr(deleting, "_INTERVAL_S", 0.0)
    server: Any = Server(looks=3)
    assert deleting._wait(server, Kind.AGENT, "a") == "deleted"
    assert capsys.readouterr().err.count("agent a is still there; `homeport get agent a`") == said
