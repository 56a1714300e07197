"""The client over a real connection to a scripted server."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.client import Homeport, Unreachable
from homeport.client.archive import pack
from homeport.client.http import LogQuery
from homeport.client.installation import find_installation
from homeport.core.errors import Denied, NotFound, Unauthenticated
from homeport.core.ids import Kind
from homeport.settings import DataDir


@pytest.fixture
def client(api: Any) -> Iterator[Homeport]:
    with Homeport(api.url, "secret", "acme") as client:
        yield client


def test_every_request_names_key_workspace_and_version(api: Any, client: Homeport) -> None:
    api.answers["GET /v0/agents/a"] = api.answer(body={"metadata": {"name": "a"}})
    assert client.get(Kind.AGENT, "a") == {"metadata": {"name": "a"}}
    headers = api.requests[0].headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-blaxel-workspace"] == "acme"
    assert headers["blaxel-version"] == "2026-04-28"


def test_a_list_reads_all_its_pages(api: Any, client: Homeport) -> None:
    api.answers["GET /v0/jobs?limit=200"] = api.answer(
        body={"data": [{"n": 1}], "meta": {"hasMore": True, "nextCursor": "x"}}
    )
    api.answers["GET /v0/jobs?limit=200&cursor=x"] = api.answer(
        body={"data": [{"n": 2}], "meta": {"hasMore": False, "nextCursor": ""}}
    )
    assert [item["n"] for item in client.list_all(Kind.JOB)] == [1, 2]


def test_a_list_that_repeats_a_page_ends_in_an_error(api: Any, client: Homeport) -> None:
    again = api.answer(body={"data": [{}], "meta": {"hasMore": True, "nextCursor": "x"}})
    api.answers |= {"GET /v0/jobs?limit=200": again, "GET /v0/jobs?limit=200&cursor=x": again}
    with pytest.raises(Exception, match="repeats a page"):
        list(client.list_all(Kind.JOB))


def test_applying_updates_and_creates_only_what_is_missing(api: Any, client: Homeport) -> None:
    resource = {"metadata": {"name": "a"}, "spec": {}}
    api.answers["PUT /v0/agents/a?upload=true"] = api.answer(body=resource, headers={"X-Blaxel-Upload-Url": "http://u"})
    applied = client.apply(Kind.AGENT, resource, upload=True)
    assert (applied.created, applied.upload_url) == (False, "http://u")
    del api.answers["PUT /v0/agents/a?upload=true"]
    api.answers["POST /v0/agents?upload=true"] = api.answer(body=resource)
    assert client.apply(Kind.AGENT, resource, upload=True).created is True


def test_an_upload_carries_the_bytes_and_no_key(api: Any, client: Homeport, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print()")
    archive = pack(tmp_path)
    expected = archive.file.read()
    archive.file.seek(0)
    api.answers["PUT /upload/1"] = api.answer()
    with archive.file:
        client.upload(f"{api.url}/upload/1", archive)
    sent = api.requests[0]
    assert sent.body == expected
    assert sent.headers["content-type"] == "application/zip"
    assert "authorization" not in sent.headers


def test_a_refusal_says_what_the_server_said(api: Any, client: Homeport) -> None:
    body = {"code": 403, "error": "Forbidden", "message": "Policy eu-only refuses. Add a region."}
    api.answers["GET /v0/agents/a"] = api.answer(status=403, body=body)
    with pytest.raises(Denied, match=r"Policy eu-only refuses\. Add a region\."):
        client.get(Kind.AGENT, "a")


def test_the_gateways_error_shape_is_understood(api: Any, client: Homeport) -> None:
    body = {"error": {"code": "WORKLOAD_NOT_FOUND", "message": "No such agent.", "status": 404}}
    api.answers["POST /acme/agents/a/"] = api.answer(status=404, body=body)
    with pytest.raises(NotFound, match=r"No such agent\."), client.call(Kind.AGENT, "a"):
        pass


def test_log_lines_come_as_objects(api: Any, client: Homeport) -> None:
    lines = [{"text": "one"}, {"text": "two"}]
    api.answers["GET /v0/homeport/logs/jobs/j?source=run&follow=false&execution=e&task=3&tail=5"] = api.answer(
        body="\n".join(map(json.dumps, lines)).encode() + b"\n"
    )
    query = LogQuery(execution="e", task="3", tail=5)
    assert [*client.logs(Kind.JOB, "j", query)] == lines


def test_names_cannot_leave_their_place_in_the_path(api: Any, client: Homeport) -> None:
    with pytest.raises(NotFound):
        client.get(Kind.AGENT, "../policies/p")
    assert api.requests[0].path == "/v0/agents/..%2Fpolicies%2Fp"


def test_a_refused_connection_says_how_to_start() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with Homeport(url, "k") as client, pytest.raises(Unreachable) as caught:
        client.status()
    assert url in caught.value.message and "homeport up" in caught.value.hint


class TestFinding:
    """Which installation the caller means."""

    @pytest.fixture(autouse=True)
    def _clean(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("BL_API_URL", "BL_API_KEY", "BL_WORKSPACE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOMEPORT_DATA", str(tmp_path / "default"))

    def write(self, root: Path, port: int, key: str) -> Path:
        data = DataDir(root)
        root.mkdir(parents=True)
        data.state.write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "workspace": "default"}))
        data.admin_key.write_text(f"{key}\n")
        return root

    def test_the_data_directory_tells_address_and_key(self, tmp_path: Path) -> None:
        self.write(tmp_path / "default", 1, "key1")
        found = find_installation()
        assert (found.url, found.key, found.workspace) == ("http://127.0.0.1:1", "key1", "default")

    def test_the_environment_wins_over_the_default_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.write(tmp_path / "default", 1, "key1")
        monkeypatch.setenv("BL_API_URL", "http://10.0.0.1:8080/v0/")
        monkeypatch.setenv("BL_API_KEY", "key2")
        monkeypatch.setenv("BL_WORKSPACE", "acme")
        found = find_installation()
        assert (found.url, found.key, found.workspace) == ("http://10.0.0.1:8080", "key2", "acme")

    def test_a_named_directory_wins_over_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BL_API_URL", "http://10.0.0.1:8080/v0")
        monkeypatch.setenv("BL_API_KEY", "key2")
        found = find_installation(self.write(tmp_path / "named", 3, "key3"), workspace="other")
        assert (found.url, found.key, found.workspace) == ("http://127.0.0.1:3", "key3", "other")

    def test_what_was_never_started_says_how_to_start_it(self, tmp_path: Path) -> None:
        with pytest.raises(Unreachable) as caught:
            find_installation(tmp_path / "none")
        assert str(tmp_path / "none") in caught.value.hint

    def test_a_missing_key_is_named(self, tmp_path: Path) -> None:
        root = self.write(tmp_path / "named", 3, "key3")
        (root / "admin-key").unlink()
        with pytest.raises(Unauthenticated, match="admin-key"):
            find_installation(root)
