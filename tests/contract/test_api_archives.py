"""Archives that are refused when they are uploaded, by what their list of entries shows; nothing is kept of them."""

import io
import stat
import zipfile

import pytest

from homeport.testing.control_plane import ControlPlane


def packed(*names: str, mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, b"x")
    return buffer.getvalue()


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(65 * 1024 * 1024))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip", ["must be a readable zip archive"]),
        (packed("fine", "../evil"), ["'..'", "'../evil'"]),
        (packed("/etc/passwd"), ["relative paths", "'/etc/passwd'"]),
        (packed("a\\b"), ["backslash"]),
        (packed("link", mode=stat.S_IFLNK | 0o777), ["symbolic links", "'link'"]),
        (packed("device", mode=stat.S_IFBLK | 0o600), ["ordinary files", "'device'"]),
        (packed("/".join(["d"] * 65)), ["64 directories"]),
        (packed("a", "a/b"), ["same name", "'a'"]),
        (bomb(), ["100 times its own size", "'zeros'"]),
    ],
    ids=["no zip", "traversal", "absolute", "backslash", "link", "device", "deep", "both", "bomb"],
)
async def test_a_bad_archive_is_refused_with_its_entry_and_rule(
    plane: ControlPlane, content: bytes, words: list[str]
) -> None:
    body = {"metadata": {"name": "one"}, "spec": {}}
    accepted = await plane.api.post("/v0/agents", params={"upload": "true"}, json=body)
    address = accepted.headers["X-Blaxel-Upload-Url"]
    refused = await plane.http.put(address, content=content)
    assert refused.status_code == 400, refused.text
    assert refused.json()["message"].startswith("archive: ")
    assert all(word in refused.json()["message"] for word in words), refused.text
    kept = [*plane.context.data.sources.iterdir(), *plane.context.data.uploads.iterdir()]
    assert kept == []
    good = packed("main.py", "Main.py", "blaxel.toml")
    assert (await plane.http.put(address, content=good)).status_code == 200, "the next try may be better"
