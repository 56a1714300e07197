"""What a Node.js source says of itself, and what of the machine's npm configuration reaches a build."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from homeport.build import node as node_module
from homeport.build.detect import detect
from homeport.build.manifest import Manifest
from homeport.build.node import check_engines, find_node, node_identity
from homeport.build.npm import ENTRY_FILES, check_of, read_package, start_of
from homeport.build.npm_registry import npm_registry
from homeport.build.registry import Registry
from homeport.core.errors import Invalid
from homeport.core.ids import Kind


def source(app: Path, *others: str, **package: Any) -> Path:
    (app / "package.json").write_text(json.dumps(package))
    for name in others:
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text("lockfileVersion: '9.0'\n" if name == "pnpm-lock.yaml" else "")
    return app


@pytest.mark.parametrize(
    ("others", "package", "install"),
    [
        (["package-lock.json"], {}, "npm ci --include=dev"),
        (["npm-shrinkwrap.json"], {}, "npm ci --include=dev"),
        ([], {"devDependencies": {"a": "1"}}, "npm install --include=dev --no-package-lock"),
        ([], {}, None),
        (["package-lock.json", "yarn.lock"], {"dependencies": {"a": "1"}}, "npm ci --include=dev"),
        (["yarn.lock"], {}, None),
    ],
)
def test_the_lock_file_chooses_how_packages_are_installed(
    tmp_path: Path, others: list[str], package: dict[str, Any], install: str | None
) -> None:
    assert read_package(source(tmp_path, *others, **package)).install == install


def test_pnpm_has_the_version_that_is_pinned_or_that_fits_the_lock(tmp_path: Path) -> None:
    found = read_package(source(tmp_path, "pnpm-lock.yaml", "package-lock.json", scripts={"build": "x"}))
    assert found.install and "--package=pnpm@9.15.9 -- pnpm install --frozen-lockfile" in found.install
    assert found.build == "npm exec --yes --prefer-offline --package=pnpm@9.15.9 -- pnpm run build"
    source(tmp_path, packageManager="pnpm@8.1.2+sha512.abc")
    assert read_package(tmp_path).pnpm == "8.1.2"
    (tmp_path / "pnpm-lock.yaml").write_text("lockfileVersion: 5.4\n")
    assert read_package(source(tmp_path, packageManager="pnpm@$(id)")).pnpm == "7.33.7"
    (tmp_path / "pnpm-lock.yaml").write_text("lockfileVersion: 99\n")
    with pytest.raises(Invalid, match="lockfileVersion"):
        read_package(tmp_path)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("{", "valid JSON"),
        ("[]", "must be an object"),
        ("[" * 100_000, "valid JSON"),
        ('{"scripts": []}', None),
        ('{"scripts": {"start": 1}}', "object of strings"),
        ('{"scripts": "x"}', "object of strings"),
        ('{"engines": "x"}', None),
    ],
)
def test_a_package_that_cannot_be_read_is_refused(tmp_path: Path, content: str, rule: str | None) -> None:
    (tmp_path / "package.json").write_text(content)
    if rule is None:
        read_package(tmp_path)
        return
    with pytest.raises(Invalid, match=rule):
        read_package(tmp_path)


@pytest.mark.parametrize("name", ["yarn.lock", "bun.lock", "bun.lockb"])
def test_locks_of_other_managers_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match=name):
        read_package(source(tmp_path, name, dependencies={"a": "1"}))


def start(app: Path) -> tuple[str, ...]:
    return start_of(read_package(app), app)[0]


def test_what_starts_is_found_in_the_order_of_the_public_command_line(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="must have a script 'start'"):
        start(source(tmp_path))
    for name in reversed(ENTRY_FILES):
        assert start(source(tmp_path, name)) == ("node", name)
    built = start(source(tmp_path, scripts={"build": "tsc"}))
    assert built[2].startswith("[ -f dist/index.js ] && exec node dist/index.js; ")
    assert start(source(tmp_path, scripts={"start": "node a.js", "build": "tsc"})) == ("sh", "-c", "node a.js")
    assert start(source(tmp_path, scripts={"start": "a", "prod": "b"})) == ("sh", "-c", "b")
    assert start(source(tmp_path, scripts={"start": "a", "prestart": "b"})) == ("npm", "run", "--silent", "start")
    assert start(source(tmp_path, scripts={"start": "x $npm_package_name"}))[0] == "npm"
    assert detect(tmp_path, Manifest(entrypoint_prod="node y.js"), Kind.AGENT).argv == ("node", "y.js")
    (tmp_path / "requirements.txt").write_text("")
    with pytest.raises(Invalid, match=r"must hold package\.json, one of"):
        detect(tmp_path, Manifest(), Kind.AGENT)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("sh", "-c", "A=1 B='x' surely-missing --x"), "surely-missing is not there"),
        (("sh", "-c", "exec surely-missing"), "surely-missing is not there"),
        (("sh", "-c", "cd x && y"), ""),
        (("sh", "-c", '"$TOOL" x'), ""),
        (("sh", "-c", "[ -f dist/index.js ] && exec node dist/index.js; x"), "the build made none of dist/index.js"),
        (("ls", "gone.js"), ""),
        (("surely-missing",), "surely-missing is not there"),
    ],
)
def test_what_starts_must_be_there_after_the_build(tmp_path: Path, argv: tuple[str, ...], said: str) -> None:
    done = subprocess.run(["sh", "-c", check_of(argv)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said in done.stdout and (done.returncode == 0) == (said == ""), done


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (None, True), ("*", True), ("20", True), ("20.x", True), (">=18", True), (">= 18.0.0", True), ("^20.1", True),
        ("~20.11", True), ("18 || 20", True), (">=18 <21", True), (">=18 <=20", True), ("20.11.1", True), ("<21", True),
        ("something new", True), (">19", True), ("18", False), (">=21", False), ("^18", False), ("~20.10", False),
        ("<20", False), (">20", False), ("18 || 22", False), ("=20.11.0", False), ("^20.12", False),
    ],
)  # fmt: skip
def test_the_engines_field_is_understood(wanted: str | None, fits: bool) -> None:
    if fits:
        check_engines(wanted, "20.11.1")
        return
    with pytest.raises(Invalid, match=r"and this machine has 20\.11\.1"):
        check_engines(wanted, "20.11.1")


def fake_node(folder: Path, version: str, npm: bool = True) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/node").write_text(f'#!/bin/sh\necho \'["{folder}/bin/node","{version}"]\'\n')
    (folder / "bin/node").chmod(0o755)
    if npm:
        (folder / "bin/npm").touch()


def test_a_machine_without_a_fitting_node_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node_identity() == ""
    with pytest.raises(Invalid, match=r"has no Node\.js"):
        find_node()
    fake_node(tmp_path / "old", "16.20.0")
    fake_node(tmp_path / "bare", "20.0.0", npm=False)
    fake_node(tmp_path / "good", "20.0.0")
    for name, words in (("old", "16.20.0, which is too old"), ("bare", "without npm")):
        monkeypatch.setenv("PATH", f"{tmp_path / name / 'bin'}:/bin")
        with pytest.raises(Invalid, match=words):
            find_node()
    monkeypatch.setenv("PATH", f"{tmp_path / 'good/bin'}:/bin")
    found = find_node()
    assert (found.version, found.mounts[0].source, found.mounts[0].target) == (
        "20.0.0", str(tmp_path / "good"), node_module.SHOWN,
    )  # fmt: skip
    assert node_identity().startswith(str(tmp_path))


def test_npm_settings_reach_a_build_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    (tmp_path / ".npmrc").write_text(
        f"; a comment\nregistry = https://mirror.example/\n@acme:registry=https://acme.example/\n"
        f"//acme.example/:_authToken=${{TOKEN}}\ncafile={tmp_path}/ca.pem\nprefix=/somewhere\ninit-author-name=me\n"
        "//gone.example/:_authToken=${UNSET}\n"
    )
    environ = {
        "HOME": str(tmp_path),
        "TOKEN": "t",
        "npm_config_registry": "https://other.example/",
        "NPM_CONFIG_STRICT_SSL": "false",
        "npm_config_cache": "/x",
        "SECRET": "s",
    }
    python = Registry(env={"HTTPS_PROXY": "p", "UV_INDEX_URL": "u"}, mounts=())
    found = npm_registry(python, environ)
    assert found.env == {
        "HTTPS_PROXY": "p",
        "npm_config_registry": "https://other.example/",
        "npm_config_@acme:registry": "https://acme.example/",
        "npm_config_//acme.example/:_authToken": "t",
        "npm_config_cafile": f"{tmp_path}/ca.pem",
        "npm_config_strict_ssl": "false",
    }
    assert [mount.source for mount in found.mounts] == [f"{tmp_path}/ca.pem"]
