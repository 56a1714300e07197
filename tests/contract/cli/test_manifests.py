"""`apply` and `delete -f` against the real API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.served import Served

POLICY = "kind: Policy\nmetadata: {name: %s}\nspec: {type: location, locations: [{type: continent, name: EU}]}\n"
Cli = Callable[..., Any]


def test_results_say_created_unchanged_and_configured(cli: Cli) -> None:
    policy = POLICY % "eu"
    assert cli("apply", "-f", "-", input=policy).out == "policy eu created\n"
    assert cli("apply", "-f", "-", input=policy).out == "policy eu unchanged\n"
    assert cli("apply", "-f", "-", input=policy.replace("EU", "NA")).out == "policy eu configured\n"
    stored = json.loads(cli("get", "policy", "eu", "-o", "json").out)
    assert stored["spec"]["locations"] == [{"type": "continent", "name": "NA"}]


def test_json_and_api_version_are_understood(cli: Cli) -> None:
    manifest = {"apiVersion": "blaxel.ai/v1alpha1", "kind": "Policy", "metadata": {"name": "p"}}
    manifest["spec"] = {"type": "location", "locations": [{"type": "country", "name": "DE"}]}
    done = cli("apply", "-f", "-", "-o", "json", input=json.dumps(manifest))
    assert done.code == 0 and json.loads(done.out) == [{"kind": "policy", "name": "p", "action": "created"}]


def test_kinds_that_are_not_served_are_named_and_the_others_are_applied(cli: Cli) -> None:
    text = (
        "kind: Sandbox\nmetadata: {name: s}\n---\n" + POLICY % "eu" + "---\nkind: VolumeTemplate\nmetadata: {name: v}\n"
    )
    done = cli("apply", "-f", "-", input=text)
    assert done.code == 1
    assert done.out == "policy eu created\n"
    assert "Kind Sandbox is not served by this version" in done.err
    assert "Kind VolumeTemplate is not served by this version" in done.err


def test_policies_go_first_whatever_the_order(cli: Cli, served: Served, tmp_path: Path) -> None:
    served.run(served.plane.make_job("nightly"))
    (tmp_path / "a-job.yaml").write_text("kind: Job\nmetadata: {name: nightly}\nspec: {policies: [eu]}\n")
    (tmp_path / "b-policy.yaml").write_text(POLICY % "eu")
    done = cli("apply", "-f", str(tmp_path))
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["policy eu created", "job nightly configured"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "neither YAML nor JSON"),
        ("", "holds no resource"),
        ("kind: Policy\nmetadata: {name: Not A Name}\n", "metadata.name"),
        ("kind: Sandwich\nmetadata: {name: s}\n", "must be one of Policy, Volume, Agent, Function, Job"),
        ("kind: Policy\nspec: {}\n", "metadata"),
        ("- 3\n", "must be an object with kind"),
        ("kind: Policy\nmetadata: {name: p}\nspec: [1]\n", "spec"),
        ("a: &a [*a]\n", "must be an object with kind"),
        ("!!python/object:os.system {}\n", "neither YAML nor JSON"),
    ],
)
def test_nothing_is_sent_before_all_is_understood(cli: Cli, text: str, says: str) -> None:
    done = cli("apply", "-f", "-", input=f"{POLICY % 'eu'}---\n{text}" if text else "")
    assert done.code == 2 and says in done.err, done.err
    assert json.loads(cli("get", "policies", "-o", "json").out) == []


def test_folders_are_read_when_asked(cli: Cli, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    (manifests / "deep").mkdir(parents=True)
    (manifests / "deep" / "p.json").write_text(POLICY % "p")
    refused = cli("apply", "-f", str(manifests))
    assert refused.code == 2 and "-R" in refused.err
    assert cli("apply", "-R", "-f", str(manifests)).out == "policy p created\n"


def test_variables_come_from_the_environment_files_and_defaults(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("NAME=from-file\nPLACE='EU' # a place\n")
    text = (
        "# $COMMENT\nkind: Policy\nmetadata: {name: $NAME, displayName: '$UNSET'}\nspec: {type: location, locations: "
    )
    text += "[{type: '${TYPE:continent}', name: '${secrets.PLACE}'}]}\n"
    done = cli("apply", "-f", "-", "--env-file", str(tmp_path / ".env"), input=text)
    assert done.out == "policy from-file created\n"
    assert "$UNSET has no value" in done.err and "COMMENT" not in done.err
    monkeypatch.setenv("NAME", "from-environment")
    assert "from-environment created" in cli("apply", "-f", "-", "-s", "PLACE=EU", input=text).out
    monkeypatch.setenv("NAME", "x\nspec: {}")
    refused = cli("apply", "-f", "-", "-s", "PLACE=EU", input=text)
    assert refused.code == 2 and "NAME: holds a line break" in refused.err


def test_a_refused_one_does_not_keep_the_others_back(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    text = "kind: Job\nmetadata: {name: nightly}\nspec: {policies: [away]}\n---\n" + POLICY % "eu" + "---\n"
    text += (POLICY % "away").replace("EU", "AF")
    done = cli("apply", "-f", "-", input=text)
    assert done.code == 3, "the only failure was a refusal"
    assert done.out.splitlines() == ["policy eu created", "policy away created"]
    assert "job nightly failed (standard input, document 1)" in done.err and "away" in done.err


def test_a_workload_that_failed_is_deployed_again_though_nothing_is_new(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    text = "kind: Job\nmetadata: {name: nightly}\nspec: {}\n"
    assert cli("apply", "-f", "-", input=text).out == "job nightly unchanged\n"
    assert cli("apply", "-f", "-", input=text.replace("spec: {}", "spec: {runtime: {timeout: 5}}")).code == 0
    assert json.loads(cli("get", "job", "nightly", "-o", "json").out)["status"] != "DEPLOYED"
    assert "configured" in cli("apply", "-f", "-", input=text.replace("spec: {}", "spec: {runtime: {timeout: 5}}")).out


def test_without_a_source_the_refusal_names_it(cli: Cli) -> None:
    done = cli("apply", "-f", "-", input="kind: Agent\nmetadata: {name: a}\nspec: {}\n")
    assert done.code == 1 and "source" in done.err and "homeport deploy" in done.err


def test_deletion_by_file_takes_policies_last(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(POLICY % "one" + "---\n" + POLICY % "two" + "---\nkind: Drive\nmetadata: {name: d}\n")
    assert cli("apply", "-f", str(file)).code == 1
    done = cli("delete", "-f", str(file))
    assert done.code == 1 and "Kind Drive is not served" in done.err
    assert done.out.splitlines() == ["policy two deleted", "policy one deleted"]


def test_deleting_several_goes_on_after_one_that_is_not_there(cli: Cli) -> None:
    cli("apply", "-f", "-", input=POLICY % "eu")
    done = cli("delete", "policies", "nope", "eu")
    assert done.code == 1 and done.out == "policy eu deleted\n" and "'nope'" in done.err
    assert cli("delete", "policy").code == 2
    assert cli("delete").code == 2


def test_without_waiting_a_deletion_returns_at_once(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    assert cli("delete", "job", "nightly", "--no-wait").out == "job nightly is being deleted\n"
    assert served.run(served.plane.api.get("/v0/jobs/nightly")).json()["status"] == "DELETING"
