"""Packing a folder: what goes in, what stays out, and that identical sources are identical bytes."""

import os
import zipfile
from pathlib import Path

import pytest

from homeport.client.archive import is_ignored, pack
from homeport.core.errors import Invalid


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(root: Path) -> list[str]:
    packed = pack(root)
    with packed.file, zipfile.ZipFile(packed.file) as archive:
        return archive.namelist()


def test_files_and_directories_are_packed_sorted(tmp_path: Path) -> None:
    tree(tmp_path, main_dot_py="1", lib__b_dot_py="2", lib__a_dot_py="3")
    assert names(tmp_path) == ["lib/", "lib/a.py", "lib/b.py", "main.py"]


def test_identical_sources_have_identical_digests(tmp_path: Path) -> None:
    first = tree(tmp_path / "one", a="1", b="2", c__d="3")
    second = tree(tmp_path / "two", c__d="3", b="2", a="1")
    os.utime(second / "a", (1, 1))
    (second / "b").chmod(0o600)
    one, two = pack(first), pack(second)
    with one.file, two.file:
        assert one.digest == two.digest
        assert one.file.read() == two.file.read()
        assert one.files == 3
    (second / "b").chmod(0o700)
    three = pack(second)
    with three.file:
        assert three.digest != one.digest, "whether a file may be executed is part of it"


def test_the_default_ignores_hold_without_an_ignore_file(tmp_path: Path) -> None:
    tree(tmp_path, main="1", _dot_env="secret", _dot_git__config="x", node_modules__a="x")
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / "src" / "__pycache__" / "x.pyc").write_text("x")
    assert "main" in names(tmp_path)
    assert not [name for name in names(tmp_path) if ".env" in name or ".git" in name or "pycache" in name]


def test_an_ignore_file_replaces_the_default_ignores(tmp_path: Path) -> None:
    tree(tmp_path, main="1", secret__key="2", _dot_env_dot_build="3", _dot_env="4")
    (tmp_path / ".blaxelignore").write_text("# what is not needed\n\nsecret/\n")
    packed = names(tmp_path)
    assert "secret/key" not in packed
    assert ".env" in packed


def test_what_the_build_needs_is_packed_whatever_the_rules_say(tmp_path: Path) -> None:
    tree(tmp_path, main="1", _dot_env_dot_build="A=1", _dot_dockerignore="x", _dot_docker="no")
    assert {".env.build", ".dockerignore"} < {*names(tmp_path)} and ".docker" not in names(tmp_path)
    (tmp_path / ".blaxelignore").write_text(".env.build\n.dockerignore\n.docker\n")
    assert ".env.build" in names(tmp_path) and ".dockerignore" not in names(tmp_path)


@pytest.mark.parametrize(
    ("name", "ignored"),
    [(".git", True), (".github/x", True), ("distx", True), ("a/dist/b", True), ("a/distx", False), ("main.py", False)],
)
def test_words_ignore_by_prefix_from_the_root_and_by_component_anywhere(name: str, ignored: bool) -> None:
    assert is_ignored(name, (".git", "dist")) is ignored


def test_links_out_of_the_folder_are_left_out_and_told(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", secret="no")
    root = tree(tmp_path / "root", real="yes", _dot_env="hidden")
    (root / "away").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "hidden").symlink_to(root / ".env")
    (root / "loop").symlink_to(root / "loop")
    (root / "inside").symlink_to("real")
    packed = pack(root)
    with packed.file, zipfile.ZipFile(packed.file) as archive:
        assert archive.namelist() == ["inside", "real"]
        assert archive.read("inside") == b"yes"
    assert [line.partition(":")[0] for line in packed.skipped] == ["away", "folder", "hidden", "loop"]


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no file"):
        pack(tmp_path)
    with pytest.raises(Invalid, match="must be a folder"):
        pack(tmp_path / "none")
