"""`blaxel.toml`: what is read, what is ignored, what is refused."""

from pathlib import Path

import pytest

from homeport.build.manifest import Manifest, parse_manifest, read_manifest
from homeport.core.errors import Invalid

FULL = """
type = "job"
name = "nightly"
workspace = "acme"
region = "eu-fra-1"
public = false
policies = ["eu-only", "small"]
agents = ["a"]
skipRoot = true

[entrypoint]
prod = ".venv/bin/python src/main.py"
dev = "python src/main.py"

[env]
STAGE = "test"

[build]
slim = true
[build.args]
TOKEN_URL = "https://example.org"

[runtime]
memory = 1024
timeout = "15m"
maxConcurrentTasks = 8
maxRetries = 0
diskPercent = 40
generation = "mk3"
[[runtime.ports]]
name = "web"
target = 3000

[[triggers]]
id = "cron"
type = "cron"
[triggers.configuration]
schedule = "*/5 * * * *"

[[volumes]]
name = "scratch"
"""


def test_every_key_that_matters_is_read() -> None:
    manifest = parse_manifest(FULL)
    assert (manifest.type, manifest.name, manifest.region, manifest.public) == ("job", "nightly", "eu-fra-1", False)
    assert manifest.policies == ("eu-only", "small")
    assert manifest.entrypoint_prod == ".venv/bin/python src/main.py"
    assert manifest.entrypoint_dev == "python src/main.py"
    assert (manifest.env, manifest.build_args) == ({"STAGE": "test"}, {"TOKEN_URL": "https://example.org"})
    ports = ({"name": "web", "target": 3000},)
    assert manifest.runtime == {
        "memory": 1024,
        "timeout": 900,
        "maxConcurrentTasks": 8,
        "maxRetries": 0,
        "diskPercent": 40,
        "generation": "mk3",
        "ports": ports,
    }
    assert manifest.triggers[0]["configuration"] == {"schedule": "*/5 * * * *"}
    assert manifest.unknown == ()


def test_unknown_keys_are_ignored_and_listed() -> None:
    manifest = parse_manifest('nmae = "x"\n[runtime]\nmemroy = 1\n[build]\ncache = 1\n[entrypoint]\nstart = "x"\n')
    assert manifest.unknown == ("build.cache", "entrypoint.start", "nmae", "runtime.memroy")


def test_an_absent_policy_list_differs_from_an_empty_one() -> None:
    assert parse_manifest("").policies is None
    assert parse_manifest("policies = []").policies == ()


@pytest.mark.parametrize(("written", "seconds"), [("900", 900), ('"900"', 900), ('"30s"', 30), ('"2d"', 172800)])
def test_durations_become_seconds(written: str, seconds: int) -> None:
    assert parse_manifest(f"[runtime]\ntimeout = {written}").runtime["timeout"] == seconds


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name = 1", "name"),
        ('type = "robot"', "type"),
        ('public = "yes"', "public"),
        ('policies = "eu"', "policies"),
        ("policies = [1]", "policies"),
        ('entrypoint = "python main.py"', "entrypoint"),
        ("[entrypoint]\nprod = []", "entrypoint.prod"),
        ("[env]\nA = 1", "env.A"),
        ('[env]\nA = "\\u0000"', "env.A"),
        ('env = ["A=1"]', "env"),
        ("[build.args]\nA = true", "build.args.A"),
        ('[runtime]\nmemory = "1024"', "runtime.memory"),
        ("[runtime]\nmemory = 0", "runtime.memory"),
        ("[runtime]\nmaxRetries = true", "runtime.maxRetries"),
        ('[runtime]\ntimeout = "soon"', "runtime.timeout"),
        ("[runtime]\ntimeout = 0", "runtime.timeout"),
        ("triggers = 1", "triggers"),
    ],
)
def test_a_wrong_type_is_refused_with_its_key(text: str, key: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_manifest(text)
    assert caught.value.field == f"blaxel.toml: {key}"


@pytest.mark.parametrize("text", ["name =", "a = 1\na = 2", "x = " + "[" * 5000])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"blaxel\.toml"):
        parse_manifest(text)


def test_a_source_without_a_manifest_has_an_empty_one(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == Manifest()


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blaxel.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="UTF-8"):
        read_manifest(tmp_path)
