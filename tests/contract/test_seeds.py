"""The bodies of the contract's pages, sent with only their placeholders replaced; and docs/fields.md, which has a row
for each of their fields, agrees with what decides about it, and names a test that is there."""

import ast
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from homeport.app.fields import FIELDS
from homeport.core.fields import IGNORED_HEADER, MASK, Fate
from homeport.core.ids import WORKLOADS, WRITTEN, Kind
from homeport.testing.control_plane import PLACE, ControlPlane, running_control_plane

ROOT = Path(__file__).parents[2]
PAGES = Path(__file__).parent / "seeds"
PLACEHOLDERS = ("<string>", "<unknown>", 123)
VALUES: dict[str, Any] = json.loads((PAGES / "values.json").read_text())
BODIES: dict[str, tuple[Kind, dict[str, Any]]] = {
    name: (kind, json.loads((PAGES / f"{name}.json").read_text()))
    for name, kind in (
        ("policy", Kind.POLICY),
        ("job", Kind.JOB),
        ("old-job", Kind.JOB),
        ("agent", Kind.AGENT),
        ("function", Kind.FUNCTION),
        ("volume", Kind.VOLUME),
    )
}
DOCUMENT = ROOT / "docs/fields.md"
HEADINGS = {
    Kind.VOLUME: "Volumes",
    Kind.POLICY: "Policies",
    Kind.AGENT: "Agents",
    Kind.FUNCTION: "Functions",
    Kind.JOB: "Jobs",
}
SEEDS = pytest.mark.parametrize("seed", list(BODIES))
WORKLOAD_SEEDS = pytest.mark.parametrize("seed", [seed for seed, (kind, _) in BODIES.items() if kind in WORKLOADS])

# Fields that the pages show only in answers. The page of the list of policies adds their use.
READ_ONLY = tuple(
    f"metadata.{key}" for key in ("createdAt", "updatedAt", "createdBy", "updatedBy", "plan", "url", "workspace")
)
EVENT = ("canaryRevision", "message", "revision", "status", "time", "type")
OF_WORKLOADS = {"status", "events", *(f"events[].{key}" for key in EVENT)}
USAGE = {"usage", *(f"usage.{key}" for key in ("agents", "functions", "jobs", "models", "sandboxes"))}
ANSWERED: dict[Kind, set[str]] = {
    Kind.POLICY: {*READ_ONLY, *USAGE},
    Kind.AGENT: {*READ_ONLY, *OF_WORKLOADS, "spec.triggers[].configuration.callbackSecret"},
    Kind.FUNCTION: {*READ_ONLY, *OF_WORKLOADS, "spec.triggers[].configuration.callbackSecret"},
    Kind.JOB: {*READ_ONLY, *OF_WORKLOADS, "spec.triggers[].configuration.callbackSecret"},
}
OF_VOLUMES = {"state", "state.attachedTo", "status", "terminatedAt", "events", *(f"events[].{key}" for key in EVENT)}
ANSWERED[Kind.VOLUME] = {*READ_ONLY, *OF_VOLUMES} - {"events[].canaryRevision", "events[].revision"}
SENT_READ_ONLY = ("events", "status", *READ_ONLY)


def filled(value: Any, path: str = "") -> Any:
    """`value` with its placeholders replaced, and nothing else; one of which no value is known is a mistake here."""
    if isinstance(value, dict):
        return {key: filled(item, f"{path}.{key}" if path else key) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, f"{path}[]") for item in value]
    if value not in PLACEHOLDERS or isinstance(value, bool):
        return value
    return "made up" if path.startswith(SENT_READ_ONLY) else VALUES[path]


def fields_of(value: Any, path: str = "") -> Iterator[str]:
    """The path of every field in a body, objects and lists of objects included."""
    if isinstance(value, dict):
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            yield at
            yield from fields_of(item, at)
    elif isinstance(value, list):
        for item in value:
            yield from fields_of(item, f"{path}[]")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """An installation as an operator sets it up for these bodies: their regions mean this machine, and the policy that
    they name is there."""
    aliases = 'aliases = ["us-was-1", "us-pdx-1"]\n'
    async with running_control_plane(tmp_path / "data", PLACE + aliases) as plane:
        spec = {"type": "location", "locations": [{"type": "location", "name": "local"}]}
        made = await plane.api.post("/v0/policies", json={"metadata": {"name": "here"}, "spec": spec})
        assert made.status_code == 200, made.text
        # The agent's page shows several replicas beside a volume that they may write to.
        volume = {
            "metadata": {"name": "my-volume", "labels": {"homeport.dev/shared": "true"}},
            "spec": {"region": "us-pdx-1"},
        }
        assert (await plane.api.post("/v0/volumes", json=volume)).status_code == 200
        yield plane


async def post(plane: ControlPlane, kind: Kind, body: dict[str, Any]) -> Response:
    query = {"upload": "true"} if kind in WORKLOADS else {}
    return await plane.api.post(f"/v0/{kind.plural}", params=query, json=body)


def ignored(answer: Response) -> list[str]:
    return [one["field"] for one in json.loads(answer.headers.get(IGNORED_HEADER, "[]"))]


def servable(seed: str) -> dict[str, Any]:
    """The seed's body, without what this version refuses of it: the volume's template, and nothing else of any seed."""
    body: dict[str, Any] = filled(BODIES[seed][1])
    if seed == "volume":
        body["spec"].pop("template")
    return body


async def accepted(plane: ControlPlane, seed: str) -> Response:
    answer = await post(plane, BODIES[seed][0], servable(seed))
    assert answer.status_code == 200, answer.text
    return answer


@SEEDS
async def test_the_body_of_the_page_is_accepted_kept_and_returned(here: ControlPlane, seed: str) -> None:
    kind = BODIES[seed][0]
    made = (await accepted(here, seed)).json()
    assert made["metadata"]["name"] == "my-resource" and made["metadata"]["displayName"] == "My Resource"
    sent, kept = servable(seed)["spec"], made["spec"]
    for trigger in sent.get("triggers", []):
        trigger["configuration"].pop("callbackSecret", None)
    for trigger in kept.get("triggers", []):  # an agent's is the server's own
        made_here = trigger["configuration"].pop("callbackSecret", None)
        assert (made_here is not None) == (kind is Kind.AGENT) and made_here != "a secret of the caller"
    assert without_secrets(kept) == without_secrets(sent)
    read = await here.api.get(f"/v0/{kind.plural}/my-resource")
    again = read.json()["spec"]
    for trigger in again.get("triggers", []):
        assert trigger["configuration"].pop("callbackSecret", MASK) == MASK
    assert again == kept
    assert "made up" not in read.text and "of the caller" not in read.text


def without_secrets(value: Any) -> Any:
    """`value` without the values of secrets, which are masked on read."""
    if isinstance(value, dict):
        hidden = {"value"} if value.get("secret") else set()
        return {key: without_secrets(item) for key, item in value.items() if key not in hidden}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


@SEEDS
async def test_what_of_it_has_no_effect_is_told(here: ControlPlane, seed: str) -> None:
    kind = BODIES[seed][0]
    answer = await accepted(here, seed)
    told = ignored(answer)
    without = {path for path, field in FIELDS[kind].items() if field.fate is Fate.NO_EFFECT}
    values = dict(_values(servable(seed)))
    expected = {path for path in without if values.get(path) and not any(_above(other, path) for other in without)}
    assert expected <= set(told)
    if kind in WORKLOADS:
        events = [one for one in answer.json()["events"] if one["reason"] == "IgnoredField"]
        assert [one["message"].partition(" ")[0] for one in events] == told
        assert all("has no effect: " in one["message"] and one["revision"] for one in events)
        assert {"spec.revision.active", "spec.revision.canary"} <= set(told)


def _values(value: Any, path: str = "") -> list[tuple[str, Any]]:
    found = [(path, value)] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += _values(item, f"{path}.{key}" if path else key)
    return found


def _above(other: str, path: str) -> bool:
    return path.startswith((f"{other}.", f"{other}["))


async def test_the_template_of_the_volumes_body_is_refused_with_the_reason(here: ControlPlane) -> None:
    answer = await post(here, Kind.VOLUME, filled(BODIES["volume"][1]))
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("spec.template: must be absent: volume templates are not served")


async def test_the_agents_body_needs_no_upload_because_it_names_a_repository(here: ControlPlane) -> None:
    answer = await here.api.post("/v0/agents", json=servable("agent"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "BUILDING" and "x-blaxel-upload-url" not in answer.headers
    assert answer.json()["spec"]["repository"]["url"] == BODIES["agent"][1]["spec"]["repository"]["url"]


@WORKLOAD_SEEDS
async def test_an_image_is_refused_where_no_region_has_an_engine(here: ControlPlane, seed: str) -> None:
    kind, body = BODIES[seed][0], servable(seed)
    body["spec"]["runtime"]["image"] = "registry.example/team/image:1"
    answer = await post(here, kind, body)
    assert answer.status_code == 400
    assert re.match(r"spec.runtime.image.*needs a region with a container engine", answer.json()["message"])


@WORKLOAD_SEEDS
async def test_a_body_without_a_source_is_refused_with_those_there_are(here: ControlPlane, seed: str) -> None:
    kind, body = BODIES[seed][0], servable(seed)
    body["spec"].pop("repository", None)
    answer = await here.api.post(f"/v0/{kind.plural}", json=body)
    assert answer.status_code == 400
    assert "names no source" in answer.json()["message"] and "upload=true" in answer.json()["message"]


async def test_the_list_of_policies_takes_the_parameters_of_its_page(here: ControlPlane) -> None:
    made = await post(here, Kind.POLICY, filled(BODIES["policy"][1]))
    assert made.status_code == 200
    query = {"limit": 1, "sort": "name:asc", "q": "re"}
    page = (await here.api.get("/v0/policies", params=query)).json()
    assert [one["metadata"]["name"] for one in page["data"]] == ["here"]
    assert page["meta"]["hasMore"] and page["meta"]["total"] == 2
    usage = page["data"][0]["usage"]
    assert {f"usage.{key}" for key in usage} == {path for path in ANSWERED[Kind.POLICY] if path.startswith("usage.")}
    rest = (await here.api.get("/v0/policies", params={**query, "cursor": page["meta"]["nextCursor"]})).json()
    assert [one["metadata"]["name"] for one in rest["data"]] == ["my-resource"]


# docs/fields.md


def rows_of(kind: Kind) -> dict[str, tuple[str, str]]:
    """The document's table of a kind: path → what it does, the test that shows it."""
    section = DOCUMENT.read_text().partition(f"\n## {HEADINGS[kind]}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| `([^`]+)` \|$", section, re.MULTILINE)
    assert len({path for path, _, _ in rows}) == len(rows), "a field has two rows"
    return {path: (says, test) for path, says, test in rows}


def normal(path: str) -> str:
    """Members that a caller names are one row."""
    return re.sub(r"^spec\.configurations\.[^.]+", "spec.configurations.*", path)


@SEEDS
def test_every_field_of_the_page_has_a_row(seed: str) -> None:
    kind, shape = BODIES[seed]
    missing = {normal(path) for path in fields_of(shape)} | ANSWERED[kind]
    missing -= {"metadata", "spec", *rows_of(kind)}
    assert not missing


def test_a_field_without_a_row_would_be_found() -> None:
    assert "spec.newer" not in rows_of(Kind.JOB)
    assert "spec.newer" in set(fields_of({"spec": {"newer": 1}}))


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_rows_say_what_decides(kind: Kind) -> None:
    said = {path: says for path, (says, _) in rows_of(kind).items()}
    decided = {
        path: field.effect if field.fate is Fate.ACTS else f"{field.fate.value}: {field.effect}"
        for path, field in FIELDS[kind].items()
    }
    assert said == decided


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_row_names_a_test_that_is_there(kind: Kind) -> None:
    for path, (_, test) in rows_of(kind).items():
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in tests, f"{path}: {test}"
