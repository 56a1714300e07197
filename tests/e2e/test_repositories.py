"""Repositories as sources, from real git servers on loopback: what is fetched, what is refused, what is said."""

import json
import os
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from homeport.testing.git_server import Repository, certificate, serving, serving_git, serving_http, serving_ssh
from homeport.testing.system import System, eventually

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed on this machine"),
]

MAIN = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = open("answer.txt", "rb").read() + json.dumps(sorted(os.environ)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
JOB = "import sys\nprint(open('answer.txt').read(), flush=True)\n"
PASSWORD = "s3cret-of-git"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key; `home` trusts it."""
    return certificate(tmp_path_factory.mktemp("tls"))[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, both: Path) -> Iterator[System]:
    """One whose operator allows repositories on this machine."""
    root = tmp_path_factory.mktemp("repositories") / "data"
    root.mkdir()
    both.parent.chmod(0o755)
    (root / "config.toml").write_text(
        "[sources]\nallow_file_repositories = true\nallow_http_repositories = true\nrepository_mb = 8\n"
    )
    system = System(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(both.with_name("certificate.pem")))
        system.up()
    yield system
    system.down()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    made = Repository(tmp_path / "served" / "one")
    made.commit({"main.py": MAIN, "answer.txt": "first"})
    return made


def deploy(home: System, name: str, url: str, kind: str = "agents", **more: Any) -> dict[str, Any]:
    """Create or update without an upload, and wait for the end."""
    body = {"metadata": {"name": name}, "spec": {"repository": {"url": url, **more}}}
    answer = home.api.put(f"/{kind}/{name}", json=body)
    if answer.status_code == 404:
        answer = home.api.post(f"/{kind}", json=body)
    assert answer.status_code == 200, answer.text
    generation = answer.json()["events"][-1]["revision"]

    def ended() -> dict[str, Any] | None:
        found = home.settled(kind, name)
        done = {
            event["revision"] for event in found["events"] if event["reason"] in ("Serving", "Built", "BuildFailed")
        }
        return found if generation in done else None

    return eventually(ended, f"{name} is deployed")


def failure_of(found: dict[str, Any]) -> str:
    assert found["status"] == "FAILED", found
    return next(str(event["message"]) for event in reversed(found["events"]) if event["reason"] == "BuildFailed")


def ask(home: System, name: str) -> str:
    return home.gateway.post(f"/agents/{name}").text


def commit_of(home: System, name: str, kind: str = "agents") -> Any:
    return home.api.get(f"/{kind}/{name}/revisions").json()[0].get("sourceCommit")


def test_a_repository_becomes_an_agent_and_an_update_takes_the_newest_commit(
    home: System, repository: Repository
) -> None:
    first = repository.git("rev-parse", "HEAD")
    with serving_http(repository.path.parent) as address:
        found = deploy(home, "newest", f"{address}/one")
        assert found["status"] == "DEPLOYED", found
        assert ask(home, "newest").startswith("first")
        assert commit_of(home, "newest") == first
        assert any(f"Fetched commit {first}" in event["message"] for event in found["events"])
        second = repository.commit({"answer.txt": "second"})
        deploy(home, "newest", f"{address}/one")
        eventually(lambda: ask(home, "newest").startswith("second"), "the second revision serves")
        assert commit_of(home, "newest") == second
        lines = [line["text"] for line in home.logs("agents", "newest", source="build")]
        assert f"==> Fetched commit {second}" in lines
    home.remove("agents", "newest")


def test_a_repository_becomes_a_function_by_the_command_line(home: System, repository: Repository) -> None:
    with serving_http(repository.path.parent) as address:
        done = home.command("deploy", "--repository", f"{address}/one", "--type", "function", "--name", "fetched")
        assert done.returncode == 0 and "/functions/fetched/mcp" in done.stderr, done.stderr
    assert commit_of(home, "fetched", "functions") == repository.git("rev-parse", "HEAD")
    assert home.gateway.post("/functions/fetched/mcp").text.startswith("first")
    home.remove("functions", "fetched")


def test_a_branch_a_tag_and_commits_long_and_short(home: System, repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "v1")
    repository.git("checkout", "--quiet", "-b", "feature/x")
    branch = repository.commit({"answer.txt": "branch"})
    repository.git("checkout", "--quiet", "main")
    newest = repository.commit({"answer.txt": "newest"})
    with serving_git(repository.path.parent) as address:
        for ref, commit in (("feature/x", branch), ("v1", first), (first, first), (first[:9], first), ("main", newest)):
            found = deploy(home, "refs", f"{address}/one#{ref}")
            assert found["status"] == "DEPLOYED", (ref, found)
            assert commit_of(home, "refs") == commit, ref
        said = failure_of(deploy(home, "refs", f"{address}/one#nowhere"))
        assert "the ref is not known there" in said and "there is no branch, tag or commit nowhere" in said
        said = failure_of(deploy(home, "refs", f"{address}/one#{'0' * 40}"))
        assert "the ref is not known there" in said
    home.remove("agents", "refs")


def test_a_whole_commit_is_that_commit_whatever_a_branch_or_a_tag_is_called(
    home: System, repository: Repository
) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.commit({"answer.txt": "another"})
    absent = "1" * 40
    for name in (first, absent):  # git itself makes no branch of such a name; a server may
        repository.git("update-ref", f"refs/heads/{name}", "HEAD")
        repository.git("update-ref", f"refs/tags/{name}", "HEAD")
    with serving_git(repository.path.parent) as address:
        deploy(home, "pinned", f"{address}/one#{first}")
        assert (commit_of(home, "pinned"), ask(home, "pinned")[:5]) == (first, "first")
        assert "there is no branch, tag or commit" in failure_of(deploy(home, "pinned", f"{address}/one#{absent}"))
    home.remove("agents", "pinned")


def test_a_repository_with_a_dockerfile_fails_where_there_is_no_engine(home: System, repository: Repository) -> None:
    repository.commit({"Dockerfile": "FROM scratch\n"})
    said = failure_of(deploy(home, "whale", f"file://{repository.path}"))
    assert "the Dockerfile at the top of the source: needs a region with a container engine" in said
    assert "[regions.NAME]" in said
    home.remove("agents", "whale")


def test_the_same_files_build_once_and_a_fixed_commit_is_not_fetched_again(
    home: System, repository: Repository
) -> None:
    url = f"file://{repository.path}"
    first = repository.git("rev-parse", "HEAD")
    deploy(home, "same", url)
    repository.commit({}, "an empty change")
    deploy(home, "same", url)
    bundles = {path.name for path in home.data.bundles.iterdir()}
    commits = [one["sourceCommit"] for one in home.api.get("/agents/same/revisions").json()]
    assert len(set(commits)) == 2
    sources = [*home.data.sources.iterdir()]
    deploy(home, "same", f"{url}#{first}")
    shutil.rmtree(repository.path)
    assert deploy(home, "same", f"{url}#{first}")["status"] == "DEPLOYED"
    assert {path.name for path in home.data.bundles.iterdir()} == bundles
    assert [*home.data.sources.iterdir()] == sources
    home.remove("agents", "same")


def test_an_upload_wins_and_a_plain_update_keeps_it(home: System, repository: Repository) -> None:
    spec = {"repository": {"type": "github", "url": f"file://{repository.path}"}}
    home.deploy("agents", "both", {"main.py": MAIN, "answer.txt": "uploaded"}, spec)
    assert ask(home, "both").startswith("uploaded")
    read = home.api.get("/agents/both").json()
    assert home.api.put("/agents/both", json=read).status_code == 200
    assert home.settled("agents", "both")["status"] == "DEPLOYED"
    assert ask(home, "both").startswith("uploaded")
    assert commit_of(home, "both") is None
    home.remove("agents", "both")


def test_a_job_runs_from_a_repository(home: System, repository: Repository) -> None:
    repository.commit({"main.py": JOB})
    assert deploy(home, "batch", f"file://{repository.path}", "jobs")["status"] == "DEPLOYED"
    assert home.execute("batch", [{}])["status"] == "succeeded"
    assert "first" in [line["text"] for line in home.logs("jobs", "batch")]
    home.remove("jobs", "batch")


def test_a_stored_secret_opens_a_repository_and_is_seen_nowhere(
    home: System, repository: Repository, both: Path
) -> None:
    with serving_http(repository.path.parent, f"reader:{PASSWORD}", both) as address:
        said = failure_of(deploy(home, "private", f"{address}/one"))
        assert "it needs a login" in said and "Command: git fetch" in said
        host = address.removeprefix("https://")
        put = home.api.put("/homeport/secrets/git-token", json={"value": f"reader:{PASSWORD}", "host": host})
        assert put.status_code == 200, put.text
        assert deploy(home, "private", f"{address}/one", secret="git-token")["status"] == "DEPLOYED"
        shown = ask(home, "private") + home.api.get("/agents/private").text + json.dumps(home.logs("agents", "private"))
        assert PASSWORD not in shown and "HOMEPORT_GIT" not in shown
        assert not any(PASSWORD.encode() in path.read_bytes() for path in kept(home.data.root))
        home.api.put("/homeport/secrets/git-token", json={"value": "reader:old"})
        assert "it needs a login" in failure_of(deploy(home, "private", f"{address}/one", secret="git-token"))
        home.api.delete("/homeport/secrets/git-token")
        body = {"metadata": {"name": "x"}, "spec": {"repository": {"url": f"{address}/one", "secret": "git-token"}}}
        refused = home.api.post("/agents", json=body)
        assert refused.status_code == 400 and "was deleted by" in refused.json()["message"]
    home.remove("agents", "private")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh client on this machine")
def test_a_private_key_opens_a_repository_over_ssh_at_a_known_host(home: System, repository: Repository) -> None:
    reader = asyncssh.generate_private_key("ssh-ed25519")
    key = reader.export_private_key().decode()
    with serving_ssh(repository.path.parent, reader) as (address, known):
        home.api.put("/homeport/secrets/ssh-key", json={"value": key})
        said = failure_of(deploy(home, "over-ssh", f"{address}/one", secret="ssh-key"))
        assert "the host's ssh key is not in DATA/ssh_known_hosts" in said
        home.data.known_hosts.write_text(known)
        assert "it needs a login" in failure_of(deploy(home, "over-ssh", f"{address}/one"))
        found = deploy(home, "over-ssh", f"{address}/one#main", secret="ssh-key")
        assert found["status"] == "DEPLOYED", found
        shown = ask(home, "over-ssh") + json.dumps(home.logs("agents", "over-ssh", source="build"))
        assert shown.startswith("first")
        line = key.splitlines()[1]
        assert line not in shown and not any(line.encode() in path.read_bytes() for path in kept(home.data.root))
        other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
        home.api.put("/homeport/secrets/ssh-key", json={"value": other})
        assert "it needs a login" in failure_of(deploy(home, "over-ssh", f"{address}/one", secret="ssh-key"))
    home.remove("agents", "over-ssh")


def kept(root: Path) -> list[Path]:
    """Every file of an installation, its database included."""
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_redirection_elsewhere_gets_no_password(home: System, repository: Repository, both: Path) -> None:
    """The server that asks is not the one that the secret is for."""
    asked: list[str] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization") or "")
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    class Lure(Thief):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{thief_address}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    home.api.put("/homeport/secrets/lured", json={"value": f"reader:{PASSWORD}"})
    with serving(Thief, both) as thief_address, serving(Lure, both) as address:
        assert "it needs a login" in failure_of(deploy(home, "lured", f"{address}/one", secret="lured"))
    assert asked and set(asked) == {""}
    home.remove("agents", "lured")


def test_what_is_wrong_is_said(home: System, repository: Repository) -> None:
    with serving_http(repository.path.parent) as address:
        assert "not found" in failure_of(deploy(home, "wrong", f"{address}/other"))
        assert "the host does not answer" in failure_of(deploy(home, "wrong", "http://127.0.0.1:1/one"))
        (repository.path / "large").write_bytes(os.urandom(20 * 1024 * 1024))
        repository.commit({})
        assert "it is larger than" in failure_of(deploy(home, "wrong", f"{address}/one"))
    home.remove("agents", "wrong")


def test_nothing_of_a_repository_runs_while_it_is_fetched(home: System, repository: Repository) -> None:
    """Hooks, filters and submodules of a hostile repository, and a link that leads out of it."""
    mark = "touch /repository/ran"
    hooks = repository.path / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\n{mark}\n")
        (hooks / name).chmod(0o755)
    other = Repository(repository.path.parent / "other")
    other.commit({"x": "y"})
    (repository.path / ".gitmodules").write_text(
        f'[submodule "m"]\n\tpath = m\n\turl = file://{other.path}\n\tupdate = !{mark}\n'
    )
    repository.commit({".gitattributes": "* filter=evil\n", "hooks/post-checkout": mark}, "evil")
    assert deploy(home, "hostile", f"file://{repository.path}")["status"] == "FAILED"
    (repository.path / ".gitmodules").unlink()
    repository.commit({})
    assert deploy(home, "hostile", f"file://{repository.path}")["status"] == "DEPLOYED"
    (repository.path / "out").symlink_to("/etc/passwd")
    repository.commit({})
    said = failure_of(deploy(home, "hostile", f"file://{repository.path}"))
    assert "must not hold a link that leads out of it" in said and "'out'" in said
    home.remove("agents", "hostile")


def test_the_command_line_deploys_a_repository(home: System, repository: Repository) -> None:
    done = home.command("deploy", "--repository", f"file://{repository.path}#main", "--name", "by-hand")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Fetched commit" in done.stderr
    home.remove("agents", "by-hand")


REFUSED = [
    ("ext::sh -c id", "blanks"),
    ("ext::sh", "transport helper"),
    ("-u/x", "option of git"),
    ("https://user:pass@host/x", "homeport secrets set"),
    ("https://token@host/x", "homeport secrets set"),
    ("ftp://host/x", "must begin with"),
    ("https:///x", "host"),
    ("https://host/x#-x", "branch"),
    ("https://host/x#a..b", "branch"),
    ("https://host/x?token=1", "query"),
    ("/etc", "must be an address"),
    ("git@-oProxyCommand=x:y", "git@host:path"),
]


@pytest.mark.parametrize(("url", "rule"), REFUSED)
def test_an_address_that_could_run_something_is_refused(home: System, url: str, rule: str) -> None:
    answer = home.api.post("/agents", json={"metadata": {"name": "bad"}, "spec": {"repository": {"url": url}}})
    assert answer.status_code == 400, answer.text
    assert rule in answer.json()["message"] and "spec.repository.url" in answer.json()["message"]
    assert "pass" not in answer.text.replace("password", "") and "token@" not in answer.text


def test_directories_and_http_need_the_operators_word(system: System, repository: Repository) -> None:
    for url, key in ((f"file://{repository.path}", "allow_file"), ("http://host/x", "allow_http")):
        answer = system.api.post("/agents", json={"metadata": {"name": "bad"}, "spec": {"repository": {"url": url}}})
        assert answer.status_code == 400
        assert key in answer.json()["message"]
