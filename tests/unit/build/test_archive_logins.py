"""Logins in an uploaded archive: taken out of it, and never unpacked."""

import contextlib
import io
import os
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.build.archive import UnpackLimits, check_archive, unpack
from homeport.build.archive_logins import NAME, take_logins
from homeport.core.errors import Invalid
from homeport.core.logins import CONFIG_BYTES

SECRET = b"hush-" + os.urandom(16).hex().encode()


def packed(path: Path, *entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, stream: bool = False) -> Path:
    """`stream`: written as by a client that does not know sizes beforehand, such as the public command line."""
    buffer = io.BytesIO()
    target = _Unseekable(buffer) if stream else buffer
    with zipfile.ZipFile(target, "w", method) as archive:  # type: ignore[arg-type]
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    path.write_bytes(buffer.getvalue())
    check_archive(path, UnpackLimits())
    return path


class _Unseekable:
    """What `zipfile` may only append to."""

    def __init__(self, file: io.BytesIO) -> None:
        self.write, self.flush = file.write, file.flush


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("stream", [False, True])
def test_logins_leave_the_archive_and_everything_else_stays(tmp_path: Path, method: int, stream: bool) -> None:
    rest = {"main.py": b"print(1)\n" * 100, ".docker/other": b"x", "sub/.docker/config.json": b"{}", "last": b"z"}
    first, *others = rest.items()
    entries = [first, (NAME, b"old " + SECRET), *others, (f"./{NAME}", SECRET)]
    archive = packed(tmp_path / "a.zip", *entries, method=method, stream=stream)
    size = archive.stat().st_size
    assert take_logins(archive) == SECRET.decode()
    assert archive.stat().st_size == size and SECRET not in archive.read_bytes()
    unpacked = unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == rest and unpacked.files == len(rest)


@pytest.mark.parametrize("stream", [False, True])
def test_two_archives_that_differ_by_their_logins_are_one(tmp_path: Path, stream: bool) -> None:
    """Not even a checksum is left of them."""
    contents = []
    for name, secret in (("a", b"hush-1"), ("b", b"hush-2")):
        archive = packed(tmp_path / name, ("main.py", b"x"), (NAME, secret), method=zipfile.ZIP_STORED, stream=stream)
        take_logins(archive)
        contents.append(archive.read_bytes())
    assert contents[0] == contents[1]


def test_an_archive_without_logins_is_left_alone(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", ("main.py", b"x"), (".docker/config.json.bak", b"y"))
    before = archive.read_bytes()
    assert take_logins(archive) is None and archive.read_bytes() == before


def test_what_cannot_be_logins_is_refused(tmp_path: Path) -> None:
    for content in (b"x" * (CONFIG_BYTES + 1), b"\xff"):
        with pytest.raises(Invalid) as refused:
            take_logins(packed(tmp_path / "a.zip", (NAME, content)))
        assert refused.value.field == NAME


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(min_size=1, max_size=4))
def test_no_damage_of_an_archive_is_more_than_refused(content: bytes, at: int, damage: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = packed(Path(folder) / "a.zip", ("main.py", b"x" * 50), (NAME, content))
        whole = bytearray(archive.read_bytes())
        whole[at : at + len(damage)] = damage
        archive.write_bytes(whole)
        with contextlib.suppress(Invalid):
            check_archive(archive, UnpackLimits())
            take_logins(archive)
