"""What the tests of commands that send credentials share."""

from typing import Any

import pytest

from homeport.cli.commands import registry, secrets


class NotingClient:
    """Notes what would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> "NotingClient":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put_secret(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        self.sent.append((name, body))
        return {"name": name}

    def put_registry_login(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        self.sent.append((name, body))
        return {"registry": name}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> NotingClient:
    """What these commands speak to."""
    client = NotingClient()
    for commands in (registry, secrets):
        monkeypatch.setattr(commands, "connect", lambda *_: client)
    return client
