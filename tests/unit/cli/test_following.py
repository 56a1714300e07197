"""What `homeport deploy` says while it follows."""

from collections.abc import Iterator
from typing import Any

import pytest

from homeport.cli import following
from homeport.core.ids import Kind

BEFORE, SINCE, AFTER = (f"2026-11-28T10:00:0{second}.000000Z" for second in range(3))


class Server:
    """Shows the agent as it is at each look."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self._looks = iter(looks)

    def get(self, kind: Kind, name: str) -> dict[str, Any]:
        return next(self._looks)

    def logs(self, *_: object) -> Iterator[dict[str, Any]]:
        return iter(())


def test_why_a_start_takes_long_is_said_once_and_what_was_before_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, "_INTERVAL_S", 0.0)
    events = [
        {"time": BEFORE, "reason": "WrongPort", "message": "an earlier one"},
        {"time": AFTER, "reason": "ReplicaEnded", "message": "no delay"},
        {"time": AFTER, "reason": "WrongPort", "message": "it listens on 9999"},
    ]
    starting = {"status": "DEPLOYING", "events": events}
    server: Any = Server(starting, starting, {"status": "DEPLOYED", "events": events})
    follower = following.Follower(server, Kind.AGENT, "a", since=SINCE)
    assert follower.follow()["status"] == "DEPLOYED" and follower.failure is None
    assert capsys.readouterr().err == "a: deploying\na: it listens on 9999\na: deployed\n"
