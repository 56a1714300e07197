"""What builds are told about the package registry."""

from pathlib import Path

import pytest

from homeport.build.registry import registry
from homeport.core.errors import Invalid


def pip_conf(root: Path, text: str) -> None:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/pip.conf").write_text(text)


def test_nothing_else_of_the_environment_is_passed_on(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "UV_DEFAULT_INDEX": "https://m/simple", "TOKEN": "x", "UV_PUBLISH_TOKEN": "y"}
    found = registry(environ, tmp_path)
    assert found.env == {"UV_DEFAULT_INDEX": "https://m/simple"}
    assert found.mounts == ()


def test_proxies_and_index_credentials_are_passed_on(tmp_path: Path) -> None:
    environ = {"https_proxy": "http://p", "NO_PROXY": "x", "UV_INDEX_OURS_PASSWORD": "s", "ALL_PROXY": ""}
    assert registry(environ, tmp_path).env == {
        "https_proxy": "http://p",
        "NO_PROXY": "x",
        "UV_INDEX_OURS_PASSWORD": "s",
    }


def test_what_pip_is_told_reaches_uv(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    text = "[global]\nindex-url = https://file/simple\ncert = /none/ca.pem\ntimeout = 9\n"
    pip_conf(tmp_path, text + f"trusted-host =\n    a\n    b\nfind-links = {wheels} https://w\n")
    found = registry({"PIP_INDEX_URL": "https://env/simple", "PIP_NO_INDEX": "1"}, tmp_path)
    assert found.env == {
        "UV_DEFAULT_INDEX": "https://env/simple",
        "UV_INSECURE_HOST": "a b",
        "UV_FIND_LINKS": f"{wheels},https://w",
        "UV_HTTP_TIMEOUT": "9",
        "SSL_CERT_FILE": "/none/ca.pem",
    }
    assert found.arguments == ("--no-index",)
    assert [(mount.source, mount.target, mount.writable) for mount in found.mounts] == [
        (str(wheels), str(wheels), False)
    ]


def test_settings_of_uv_win_over_those_of_pip(tmp_path: Path) -> None:
    environ = {
        "UV_INDEX_URL": "https://uv",
        "PIP_INDEX_URL": "https://pip",
        "PIP_PROXY": "http://p",
        "https_proxy": "http://q",
    }
    assert registry(environ, tmp_path).env == {"UV_INDEX_URL": "https://uv", "https_proxy": "http://q"}


def test_certificates_are_shown_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    found = registry({"REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem")}, tmp_path)
    assert found.env["SSL_CERT_FILE"] == str(tmp_path / "ca.pem")
    assert [mount.source for mount in found.mounts] == [str(tmp_path / "ca.pem")]
    inside = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(tmp_path)}
    assert [mount.source for mount in registry(inside, tmp_path).mounts] == [str(tmp_path)]


def test_configuration_files_of_uv_are_shown_by_name_only(tmp_path: Path) -> None:
    for place in ("etc/uv", "home/.config/uv"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "uv.toml").write_text("")
    found = registry({"HOME": str(tmp_path / "home")}, tmp_path)
    assert {mount.target for mount in found.mounts} == {"/build/system/uv/uv.toml", "/build/config/uv/uv.toml"}
    assert found.env == {"XDG_CONFIG_HOME": "/build/config", "XDG_CONFIG_DIRS": "/build/system"}


def test_a_pip_configuration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    pip_conf(tmp_path, "index-url = x\n")
    with pytest.raises(Invalid, match=r"pip\.conf"):
        registry({}, tmp_path)
    assert registry({"PIP_CONFIG_FILE": "/dev/null"}, tmp_path).env == {}
