"""Unpacking: what comes out, and every archive that is refused."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from homeport.build import archive
from homeport.build.archive import UnpackLimits, unpack
from homeport.core.errors import Invalid


def packed(tmp_path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    path = tmp_path / "source.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            if isinstance(name, str) and file.NameToInfo.get(name):
                with pytest.warns(UserWarning, match="Duplicate name"):
                    file.writestr(name, content)
            else:
                file.writestr(name, content)
    return path


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def refusal(source: Path, tmp_path: Path, limits: UnpackLimits | None = None) -> Invalid:
    with pytest.raises(Invalid) as caught:
        unpack(source, tmp_path / "out", limits)
    assert caught.value.field == "archive"
    return caught.value


def test_files_come_out_with_their_content_and_normal_modes(tmp_path: Path) -> None:
    source = packed(
        tmp_path,
        ("main.py", b"print()"),
        (entry("run.sh", stat.S_IFREG | 0o4750), b"#!/bin/sh"),
        (entry("secret", stat.S_IFREG | 0o600), b"x"),
        ("a/b/c.txt", b"deep"),
        ("empty/", b""),
    )
    result = unpack(source, tmp_path / "out")
    out = tmp_path / "out"
    assert (result.files, result.content_bytes) == (4, 21)
    assert (out / "a/b/c.txt").read_bytes() == b"deep"
    assert (out / "empty").is_dir()
    modes = {name: stat.S_IMODE((out / name).stat().st_mode) for name in ("main.py", "run.sh", "secret", "a", "empty")}
    assert modes == {"main.py": 0o644, "run.sh": 0o755, "secret": 0o644, "a": 0o755, "empty": 0o755}


def test_the_later_of_two_entries_with_one_name_wins(tmp_path: Path) -> None:
    source = packed(tmp_path, ("blaxel.toml", b"old, longer"), ("./x//y", b"1"), ("blaxel.toml", b"new"), ("x/y", b"2"))
    unpack(source, tmp_path / "out")
    assert (tmp_path / "out/blaxel.toml").read_bytes() == b"new"
    assert (tmp_path / "out/x/y").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../evil", "'..'"),
        ("a/../../evil", "'..'"),
        ("a/..", "'..'"),
        ("/etc/passwd", "relative"),
        ("C:/evil", "relative"),
        ("a\\..\\evil", "backslash"),
        ("n" * 256, "bytes at most"),
        ("/".join(["d" * 200] * 11), "bytes at most"),
    ],
)
def test_a_path_that_leads_outside_or_is_too_long_is_refused(tmp_path: Path, name: str, rule: str) -> None:
    error = refusal(packed(tmp_path, ("fine", b""), (name, b"x")), tmp_path)
    assert rule in error.rule
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    error = refusal(packed(tmp_path, (entry("odd", kind | 0o777), b"/etc/passwd")), tmp_path)
    assert "'odd'" in error.message


def test_a_file_and_a_directory_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "same name" in refusal(packed(tmp_path, ("a", b"x"), ("a/b", b"y")), tmp_path).rule


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert "at least one file" in refusal(packed(tmp_path, ("a/", b"")), tmp_path).rule


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK", b"hello" * 100, b"PK\x05\x06" + b"\xff" * 18):
        (tmp_path / "source.zip").write_bytes(content)
        refusal(tmp_path / "source.zip", tmp_path)


def test_a_damaged_entry_is_refused(tmp_path: Path) -> None:
    source = packed(tmp_path, ("main.py", bytes(range(256)) * 40))
    content = bytearray(source.read_bytes())
    content[60] ^= 0xFF
    source.write_bytes(content)
    assert "damaged" in refusal(source, tmp_path).rule


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    source = packed(tmp_path, ("main.py", bytes(range(256)) * 40))
    source.write_bytes(source.read_bytes()[:-40])
    refusal(source, tmp_path)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    source = packed(tmp_path, ("main.py", b"x"))
    content = bytearray(source.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    source.write_bytes(content)
    assert "encrypted" in refusal(source, tmp_path).rule


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_python_cannot_bound_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "source.zip", "w", method) as file:
        file.writestr("main.py", b"x" * 100)
    assert "deflate" in refusal(tmp_path / "source.zip", tmp_path).rule


def test_content_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    source = packed(tmp_path, ("a", b"\0" * 3000), ("b", b"\0" * 3000))
    assert "5000 bytes at most" in refusal(source, tmp_path, UnpackLimits(content_bytes=5000)).rule


def test_a_header_that_states_less_content_than_there_is_gains_nothing(tmp_path: Path) -> None:
    source = packed(tmp_path, ("a", b"\0" * 5000))
    source.write_bytes(source.read_bytes().replace(struct.pack("<L", 5000), struct.pack("<L", 10)))
    assert "damaged" in refusal(source, tmp_path).rule
    assert (tmp_path / "out/a").stat().st_size <= 10


def test_more_files_than_the_limit_are_refused(tmp_path: Path) -> None:
    source = packed(tmp_path, *((f"{number}", b"") for number in range(11)))
    assert "10 files" in refusal(source, tmp_path, UnpackLimits(files=10)).rule


def test_a_bomb_is_refused_while_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 1024 * 1024)
    source = packed(tmp_path, ("zeros", b"\0" * 20_000_000))
    assert "times its own size" in refusal(source, tmp_path).rule
    assert (tmp_path / "out/zeros").stat().st_size < 4_000_000


def test_a_list_of_entries_too_long_to_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path, *((f"{number}", b"") for number in range(200)))
    monkeypatch.setattr(archive, "DIRECTORY_BYTES", 5000)
    assert "list its entries" in refusal(source, tmp_path).rule


def test_a_zip64_archive_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        with file.open(zipfile.ZipInfo("main.py"), "w", force_zip64=True) as content:
            content.write(b"print()")
    (tmp_path / "source.zip").write_bytes(buffer.getvalue())
    assert unpack(tmp_path / "source.zip", tmp_path / "out").files == 1
