"""Addresses of repositories: what is taken, what is refused, and how a secret is used."""

import os
import zipfile
from pathlib import Path

import pytest

from homeport.build import git
from homeport.build.archive import UnpackLimits
from homeport.build.errors import BuildFailed
from homeport.build.pack import pack_tree
from homeport.build.repository import Repository, read_repository
from homeport.configuration import Sources
from homeport.core.errors import Invalid

OPEN = Sources(allow_file_repositories=True, allow_http_repositories=True)


def read(url: str, sources: Sources = OPEN, **more: str) -> Repository | None:
    return read_repository({"repository": {"url": url, **more}}, sources)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "ref"),
    [
        ("https://github.com/acme/agent", "https", "github.com", None),
        ("https://github.com:8443/acme/agent.git#v1.0", "https", "github.com:8443", "v1.0"),
        ("ssh://git@host:2222/a/b#feature/x", "ssh", "host:2222", "feature/x"),
        ("git@host.example:acme/agent.git", "ssh", "host.example", None),
        ("host:agent#main", "ssh", "host", "main"),
        ("git://host/agent", "git", "host", None),
        ("file:///srv/git/agent.git#0123456", "file", "", "0123456"),
        ("http://[::1]:80/x", "http", "[::1]:80", None),
    ],
)
def test_addresses_that_are_taken(url: str, scheme: str, host: str, ref: str | None) -> None:
    found = read(url)
    assert found is not None
    assert (found.scheme, found.host, found.ref) == (scheme, host, ref)
    assert found.shown == url


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::17",
        "foo+bar::https://host/x",
        "--upload-pack=touch",
        "-oProxyCommand=x:y",
        "git@-oProxyCommand=x:y",
        "git@host:-x",
        "ssh://-oProxyCommand=x/y",
        "ssh://git@-host/y",
        "ssh://a b@host/y",
        "https://-host/x",
        "https://host:port/x",
        "https://host:99999/x",
        "https://host",
        "https://host/",
        "https:///x",
        "https://host/a%00b",
        "https://host/a\\b",
        "https://host/x?key=1",
        "file://host/x",
        "file://x",
        "file:///a/../etc",
        "ftp://host/x",
        "sftp://host/x",
        "remote-ext://x/y",
        "/srv/git",
        "./x",
        "x",
        "https://h\u00f6st/x",
        "https://ho\nst/x",
        "https://host/x y",
        "https://host/x#",
        "https://host/x#-x",
        "https://host/x#a..b",
        "https://host/x#a@{1}",
        "https://host/x#a:b",
        "https://host/x#a b",
        "https://host/x#a/",
        "https://host/x#x.lock",
        "https://host/x#*",
        f"https://host/x#{'a' * 300}",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(url)
    assert caught.value.field == "spec.repository.url"


@pytest.mark.parametrize(
    "url",
    ["https://user:hidden@host/x", "https://hidden@host/x", "https://hidden@/x", "ssh://git:hidden@host/x",
     "http://:hidden@host/x", "https://host/x?access_token=hidden", "hid@den@host:x", "git://hidden@host/x",
     "user:hidden@host:x", "https:user:hidden@host/x", "https:/user:hidden@host/x", "ext::https://user:hidden@host/x"],
)  # fmt: skip
def test_a_credential_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(url)
    assert "hidden" not in caught.value.for_caller() and "hid@" not in caught.value.for_caller()


def test_a_scheme_in_capitals_is_the_same_scheme() -> None:
    for url, written in (("HTTPS://Host/X", "https://Host/X"), ("File:///srv/X", "file:///srv/X")):
        found = read(url)
        assert found is not None and (found.url, found.scheme) == (written, written.partition(":")[0])
    with pytest.raises(Invalid):
        read("FILE:///srv/x", Sources())


def test_http_and_directories_need_the_operators_word() -> None:
    for url in ("http://host/x", "file:///x"):
        with pytest.raises(Invalid) as caught:
            read(url, Sources())
        assert "[sources] allow_" in caught.value.hint
    assert read("git://host/x", Sources()) is not None


def test_a_secret_goes_over_https_and_ssh_only() -> None:
    assert read("https://host/x", secret="token") == Repository(
        url="https://host/x", scheme="https", host="host", secret="token"
    )
    for url, name in (
        ("http://host/x", "token"),
        ("git://host/x", "t"),
        ("file:///x", "t"),
        ("https://h/x", "No Name"),
    ):
        with pytest.raises(Invalid, match=r"spec\.repository\.secret"):
            read(url, secret=name)
    with pytest.raises(Invalid, match="needs"):
        read_repository({"repository": {"secret": "token"}}, OPEN)


def test_no_repository_is_no_error() -> None:
    assert read_repository({}, OPEN) is None
    assert read_repository({"repository": {"type": "github", "url": None}}, OPEN) is None


def test_a_secret_becomes_a_login_or_a_key() -> None:
    web, shell = read("https://host/x", secret="t"), read("git@host:x", secret="t")
    assert web and shell
    assert git.login(web, "abc\n") == git.Login(user="x-access-token", password="abc")
    assert git.login(web, "me:a:b") == git.Login(user="me", password="a:b")
    assert git.login(shell, "-----BEGIN X-----\nk\n-----END X-----").key.endswith("END X-----\n")
    for repository, value in ((web, "-----BEGIN X-----"), (shell, "abc")):
        with pytest.raises(BuildFailed, match="in the secret 't'") as caught:
            git.login(repository, value)
        assert value not in caught.value.for_caller()
    env = git.environment(web, git.login(web, "abc"), {"HTTPS_PROXY": "p", "UV_INDEX_URL": "secret"})
    assert env["HOMEPORT_GIT_PASSWORD"] == "abc" and env["HTTPS_PROXY"] == "p" and "UV_INDEX_URL" not in env
    assert env["GIT_ALLOW_PROTOCOL"] == "https"
    assert "abc" not in git.script(web, submodules=True, most_bytes=1)


def tree(folder: Path) -> Path:
    (folder / "a").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("x")
    (folder / "a/.git").write_text("gitdir: x")
    (folder / "a/file").write_text("content")
    (folder / "run").write_text("x")
    (folder / "run").chmod(0o700)
    (folder / "link").symlink_to("a/file")
    (folder / "to-folder").symlink_to("a")
    (folder / "to-nothing").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    return folder


def test_a_tree_is_packed_the_same_wherever_it_stands(tmp_path: Path) -> None:
    first = pack_tree(tree(tmp_path / "one"), tmp_path / "one.zip", UnpackLimits())
    os.utime(tree(tmp_path / "two") / "run", (1, 1))
    second = pack_tree(tmp_path / "two", tmp_path / "two.zip", UnpackLimits())
    assert first == second
    assert sorted(first.left_out) == ["loop", "to-folder", "to-nothing"]
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        assert sorted(packed.namelist()) == ["a/file", "link", "run"]
        assert packed.read("link") == b"content"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", ".git/config"])
def test_a_link_that_leads_out_of_a_tree_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("x")
    (tree(tmp_path / "one") / "out").symlink_to(target)
    with pytest.raises(Invalid, match="leads out of it"):
        pack_tree(tmp_path / "one", tmp_path / "one.zip", UnpackLimits())


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_a_name_that_is_no_text_is_refused_and_can_be_read(tmp_path: Path, kind: str) -> None:
    name = os.fsencode(tree(tmp_path / "tree")) + b"/r\xe9sum\xe9"
    if kind == "link":
        os.symlink("nowhere", name)
    elif kind == "directory":
        os.mkdir(name)
    else:
        os.close(os.open(name, os.O_CREAT))
    with pytest.raises(Invalid) as caught:
        pack_tree(tmp_path / "tree", tmp_path / "out.zip", UnpackLimits())
    assert r"r\\xe9sum\\xe9" in caught.value.for_caller()


def test_a_tree_keeps_the_rules_of_archives(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid, match="at least one file"):
        pack_tree(tmp_path / "empty", tmp_path / "x.zip", UnpackLimits())
    with pytest.raises(Invalid, match="2 files"):
        pack_tree(tree(tmp_path / "one"), tmp_path / "x.zip", UnpackLimits(files=2))
    with pytest.raises(Invalid, match="5 bytes"):
        pack_tree(tmp_path / "one", tmp_path / "x.zip", UnpackLimits(content_bytes=5))
    os.mkfifo(tmp_path / "one/pipe")
    with pytest.raises(Invalid, match="ordinary files"):
        pack_tree(tmp_path / "one", tmp_path / "x.zip", UnpackLimits())
    deep = tmp_path / "deep"
    (deep / "/".join(["d"] * 70)).mkdir(parents=True)
    (deep / "/".join(["d"] * 70) / "f").write_text("x")
    with pytest.raises(Invalid, match="64 directories"):
        pack_tree(deep, tmp_path / "x.zip", UnpackLimits())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fatal: couldn't find remote ref refs/heads/x", "the ref is not known"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "needs a login"),
        ("git@h: Permission denied (publickey).", "needs a login"),
        ("fatal: repository 'https://h/x/' not found", "not found"),
        ("Host key verification failed.", "ssh_known_hosts"),
        ("fatal: unable to access: Could not resolve host: h", "the host is not known"),
        ("something new", ""),
    ],
)
def test_what_git_says_has_a_meaning(line: str, words: str) -> None:
    assert words in git.meaning(["==> Fetching https://h/not found", line])
