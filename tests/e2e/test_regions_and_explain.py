"""The operator's word about the machine, from config.toml through a real Homeport to what people read at a terminal."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.testing.system import System

PROGRAM = {"main.py": "import os\nprint('in', os.environ['BL_REGION'])"}
NA_ONLY = "kind: Policy\nmetadata: {name: na-only}\nspec: {type: location, locations: [{type: continent, name: na}]}\n"


@pytest.fixture(scope="module")
def abroad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A machine in Germany that answers to an American name; nobody has said its continent."""
    running = System(tmp_path_factory.mktemp("abroad") / "data")
    running.data.root.mkdir()
    running.data.config.write_text(
        '[regions.local]\ncountry = "DE"\naliases = ["us-pdx-1"]\n\n[limits]\nbody_mb = 1\nupload_mb = 1\n'
    )
    running.up()
    yield running
    running.down()


def test_a_manifest_for_another_cloud_runs_here_under_an_alias(abroad: System) -> None:
    made = abroad.deploy("jobs", "borrowed", PROGRAM, {"region": "us-pdx-1", "runtime": {"memory": 128}})
    assert (made["status"], made["spec"]["region"]) == ("DEPLOYED", "us-pdx-1")
    assert abroad.execute("borrowed", [{}])["status"] == "succeeded"
    assert any(line["text"] == "in local" for line in abroad.logs("job", "borrowed"))
    local, alias = abroad.api.get("/locations").json()
    assert (local["region"], alias["region"], alias["sameAs"], alias["country"]) == ("local", "us-pdx-1", "local", "DE")
    abroad.remove("jobs", "borrowed")


def test_what_the_operator_has_not_said_is_printed_line_by_line(abroad: System, tmp_path: Path) -> None:
    manifest = tmp_path / "na.yaml"
    manifest.write_text(NA_ONLY)
    assert abroad.command("apply", "-f", str(manifest)).returncode == 0
    program = tmp_path / "program"
    program.mkdir()
    (program / "main.py").write_text(PROGRAM["main.py"])
    line = '[regions.local]\ncontinent = "NA"'
    refused = abroad.command("deploy", "-d", str(program), "--name", "kept-out", "--type", "job", "--policy", "na-only")
    assert refused.returncode == 3, refused.stderr
    assert line in refused.stderr
    assert line in abroad.accept("jobs", "kept-out", {"policies": ["na-only"]}).json()["message"]
    # The alias sounds American; the policy does not listen.
    answer = abroad.accept("jobs", "kept-out", {"policies": ["na-only"], "region": "us-pdx-1"})
    assert (answer.status_code, line in answer.json()["message"]) == (403, True)
    elsewhere = abroad.accept("jobs", "kept-out", {"region": "eu-fra-1"})
    assert elsewhere.status_code == 400
    assert elsewhere.json()["message"].endswith('[regions.local]\naliases = ["us-pdx-1", "eu-fra-1"]')
    assert abroad.api.delete("/policies/na-only").status_code == 200


def test_a_change_is_tried_explained_and_then_made(abroad: System, tmp_path: Path) -> None:
    manifest = tmp_path / "na.yaml"
    manifest.write_text(NA_ONLY)
    germany = {"type": "location", "locations": [{"type": "country", "name": "de"}]}
    body = {"metadata": {"name": "na-only"}, "spec": germany}
    assert abroad.api.post("/policies", json=body).status_code == 200
    assert abroad.accept("jobs", "bound", {"policies": ["na-only"]}).status_code == 200
    tried = abroad.command("policies", "dry-run", "-f", str(manifest))
    assert tried.returncode == 3, tried.stderr
    assert "update policy na-only: refuses (1 refused" in tried.stdout
    assert 'continent = "NA"' in tried.stdout
    deleted = abroad.command("policies", "dry-run", "--delete", "na-only", "-o", "json")
    assert (deleted.returncode, json.loads(deleted.stdout)["refused"][0]["name"]) == (3, "bound")
    assert abroad.command("explain", "job", "bound").returncode == 0
    assert abroad.command("apply", "-f", str(manifest)).returncode == 0
    explained = abroad.command("explain", "policy", "na-only")
    assert explained.returncode == 3
    for part in ("It is of type location", "country DE", "Unknown: continent, location", "refused", "bound"):
        assert part in explained.stdout
    newest = abroad.command("explain", "job", "bound")
    assert (newest.returncode, "would not be placed there now" in newest.stdout) == (3, True)
    harmless = abroad.command("policies", "dry-run", "-f", str(manifest))
    assert (harmless.returncode, "1 unaffected" in harmless.stdout) == (0, True)
    abroad.api.delete("/policies/na-only")
    assert "deleted by" in abroad.command("explain", "job", "bound").stdout
    abroad.remove("jobs", "bound")


def test_a_folder_that_is_too_large_for_the_operator_is_refused_in_words(abroad: System, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PROGRAM["main.py"])
    (tmp_path / "data.bin").write_bytes(os.urandom(20 * 2**20))
    refused = abroad.command("deploy", "-d", str(tmp_path), "--name", "large", "--type", "job")
    assert refused.returncode != 0
    assert "larger than 1048576 bytes, the most that is accepted here" in refused.stderr, refused.stderr
    abroad.remove("jobs", "large")


def test_the_operators_limit_holds_at_the_gateway(abroad: System) -> None:
    body = {"metadata": {"name": "large", "labels": {"x": "y" * 2**20}}, "spec": {}}
    assert abroad.api.post("/policies", json=body).status_code == 413


def test_a_mistake_in_the_file_ends_the_start_by_name(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    system.data.root.mkdir()
    system.data.config.write_text("[limits]\nbody_mb = 0\nbodymb = 1\n")
    started = system.command("up", "--port", str(system.port), "--detach")
    assert started.returncode != 0
    said = started.stdout + started.stderr
    for part in (
        str(system.data.config),
        "[limits] body_mb must be at least 1 (got 0)",
        "no key 'bodymb'",
        "Mend that",
    ):
        assert part in said, said
