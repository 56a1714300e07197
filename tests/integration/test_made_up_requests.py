"""Requests made up from our own document, against the whole API on a real store, with every check of schemathesis.

`make test` makes up the same ones each time; `make fuzz` others, and more. HOMEPORT_FUZZ_EXAMPLES says how many of each
operation (and ten times as many sequences), HOMEPORT_FUZZ_SEED which, 0 for any; the seed is printed.

Where the contract has a rule that its document cannot say, or that contradicts what a document means, the rule stands
in one of the tables below, for one parameter or field. Nothing else is excused.
"""

import os
import random
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from homeport.testing.control_plane import VERSION
from homeport.testing.serving_plane import ServingPlane, serving_plane

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies, when it is imported
    import schemathesis
    from schemathesis.core.failures import FailureGroup
    from schemathesis.generation import GenerationMode

EXAMPLES = int(os.environ.get("HOMEPORT_FUZZ_EXAMPLES", "8"))  # of each operation, good and bad
SEQUENCES = 10 * EXAMPLES
SEED = int(os.environ.get("HOMEPORT_FUZZ_SEED", "1")) or random.randrange(1, 2**32)
NAME = "^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$"

# What is good by the contract's words and not by its document: made narrower in our copy, so that good requests are
# mostly good. Shape, field → what is added, and the rule.
NARROWER: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("Metadata", "name"): ({"pattern": NAME}, "names have lower-case letters, digits and hyphens"),
    ("Metadata", "displayName"): ({"pattern": "^[ -~]*$"}, "texts for people have no control characters"),
    ("Metadata", "externalId"): ({"pattern": "^[A-Za-z0-9-]*$"}, "external ids have letters, digits and hyphens"),
    ("Env", "name"): ({"pattern": "^[A-Z][A-Z_]{0,20}$"}, "variables have the names that shells read"),
    ("CreateJobExecutionRequest", "memory"): ({"maximum": 2048}, "at most the job's memory"),
}
# Parameters whose document says what the contract clamps or ignores: taken out of our copy.
CLAMPED = {"limit": ("maximum", "a larger value counts as the most"), "offset": ("minimum", "ignored with cursors")}

# A request that fits the document may still be refused for these: the field that the answer names, and the rule.
REFUSED = {
    "anchor": "goes with an order by time only",
    "cursor": "must come from an answer of the same query",
    "status": "a comma list of known statuses",
    "q": "at most 200 characters after their case is changed",
    "metadata": "a trial of a policy has either a whole one or the name of one",
    "metadata.labels": "bounded in number and length, without control characters",
    "metadata.name": "PUT names in its body what its address names",
    "spec": "a workload needs a source, and a policy must decide something",
    "spec.region": "must be one of this installation's",
    "spec.policies": "names, at most so many",
    "spec.repository": "where a source may come from is the operator's to say",
    "spec.repository.url": "the same",
    "spec.repository.secret": "must exist",
    "spec.type": "says which part of a policy acts; that part must be there and able to decide",
    "spec.locations": "the same",
    "spec.flavors": "the same",
    "spec.maxTokens": "the same",
    "spec.resourceTypes": "the same",
    "spec.volumes": "not in this version",
    "spec.triggers": "bounded, with what each type needs",
    "spec.revision": "names revisions that there are; shares are percents",
    "spec.configurations": "names of variables",
    "spec.integrationConnections": "there are none in this version",
    "spec.runtime": "bounded numbers; no images; what the older contract says is acted on or refused",
    "body": "a stored secret has a value or data, an update of an account says what",
    "env": "names and values that a process can be started with",
    "executionId": "part of addresses",
    "memory": "at most the job's memory",
    "grace": "goes with now",
    "tasks": "a task fits into its program's arguments",
    "expires_in": "a duration of at most ten years",
    "name": "no control characters",
    "description": "no control characters",
    "client_secret": "must be the one of the account",
    "scope": "scopes that there are",
    "data": "names and sizes of stored secrets",
    "registry": "the host of one",
    "username": "no control characters and no colon",
    "source": "build or run",
    "revision": "one that there is",
    "execution": "one that there is",
    "task": "one that there is",
    "resourceType": "agents or jobs",
    "start": "a time",
    "end": "a time",
}
# A request that does not fit the document may still be accepted if all that is wrong is one of these: the rule.
ACCEPTED = {
    "upload": "read as the framework reads true and false",
    "show_secrets": "the same",
    "countResources": "the same",
    "follow": "the same",
    "now": "the same",
    "Authorization": "every request is sent with a good key instead",
}
EMPTY = {"sort": "empty counts as absent", "anchor": "the same"}
# What only the server sets is ignored when it is sent.
READ_ONLY = frozenset(
    {"events", "status", "usage", "createdAt", "updatedAt", "createdBy", "updatedBy", "workspace", "url"}
)

# What a policy of each type needs to decide anything.
DECIDES: dict[str, dict[str, Any]] = {
    "location": {"locations": [{"type": "location", "name": "local"}]},
    "flavor": {"flavors": [{"type": "cpu", "name": "x86"}]},
    "maxToken": {"maxTokens": {"granularity": "day", "step": 1, "total": 5}},
}

# What is made → what can be done with it: the operation, and where its parameters are in the answer.
_AT_NAME = "$response.body#/metadata/name"
FOLLOWED: dict[tuple[str, str], dict[str, dict[str, str]]] = {
    ("/agents", "post"): {
        name: {"agentName": _AT_NAME} for name in ("GetAgent", "UpdateAgent", "DeleteAgent", "ListAgentRevisions")
    },
    ("/policies", "post"): {
        name: {"policyName": _AT_NAME} for name in ("GetPolicy", "UpdatePolicy", "DeletePolicy", "GetPolicyUsages")
    },
    ("/jobs", "post"): {
        name: {"jobId": _AT_NAME}
        for name in ("GetJob", "UpdateJob", "DeleteJob", "ListJobRevisions", "CreateJobExecution", "ListJobExecutions")
    },
    ("/jobs/{jobId}/executions", "post"): {
        name: {"jobId": "$response.body#/jobId", "executionId": "$response.body#/executionId"}
        for name in ("GetJobExecution", "DeleteJobExecution", "ListJobExecutionTasks")
    },
    ("/service_accounts", "post"): {
        name: {"clientId": "$response.body#/client_id"}
        for name in (
            "UpdateWorkspaceServiceAccount",
            "DeleteWorkspaceServiceAccount",
            "ListApiKeysForServiceAccount",
            "CreateApiKeyForServiceAccount",
        )
    },
    ("/service_accounts/{clientId}/api_keys", "post"): {
        "DeleteApiKeyForServiceAccount": {"clientId": "$response.body#/sub", "apiKeyId": "$response.body#/id"}
    },
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingPlane]:
    with serving_plane(tmp_path_factory.mktemp("made-up") / "data") as at:
        yield at


@pytest.fixture(scope="module")
def api(plane: ServingPlane) -> Any:
    document = requests.get(f"{plane.url}/v0/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(_copy(document))
    schema.config.update(base_url=f"{plane.url}/v0")
    print(f"HOMEPORT_FUZZ_SEED={SEED}")
    return schema


def _copy(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what its tables say."""
    copy = deepcopy(document)
    for (shape, field), (more, _) in NARROWER.items():
        found = copy["components"]["schemas"][shape]["properties"][field]
        for part in found.get("anyOf", [found]):
            if part.get("type") in ("string", "integer"):
                part.update(more)
    for item in copy["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if bound := CLAMPED.get(parameter["name"]):
                    parameter["schema"].pop(bound[0], None)
    for (path, method), targets in FOLLOWED.items():
        links = {name: {"operationId": name, "parameters": where} for name, where in targets.items()}
        copy["paths"][path][method]["responses"]["200"]["links"] = links
    return copy


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=12,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # the seed repeats a failure; making it smaller takes minutes
    )


def _headers(plane: ServingPlane) -> dict[str, str]:
    return {"Authorization": f"Bearer {plane.key}", "Blaxel-Version": VERSION}


def _prepare(case: Any, plane: ServingPlane) -> None:
    """What a good request needs and no document can say: PUT repeats its address's name, a policy decides something, a
    workload has a source. And nobody takes away the key with which all this is sent."""
    body, path = case.body, case.path_parameters or {}
    if path.get("clientId") == plane.account:
        path["clientId"] = "sa-nobody"
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    if case.method == "PUT" and isinstance(body, dict) and isinstance(body.get("metadata"), dict):
        body["metadata"]["name"] = next(iter(path.values()))
    if case.method in ("POST", "PUT") and case.path.startswith("/policies") and isinstance(body, dict):
        body["spec"].update(DECIDES.get(body["spec"].get("type"), {}))
    if case.method in ("POST", "PUT") and case.path in ("/agents", "/jobs"):
        case.query = {**(case.query or {}), "upload": "true"}


def _check(case: Any, response: Any) -> None:
    """Every check; raises what no rule excuses."""
    try:
        case.validate_response(response)
    except FailureGroup as group:
        left = [failure for failure in group.exceptions if not _excused(failure, case, response)]
        if left:
            raise FailureGroup(left, group.message) from None


def _excused(failure: Exception, case: Any, response: Any) -> bool:
    if type(failure).__name__ == "RejectedPositiveData":
        return response.status_code == 400 and _field(response.json()["message"]) in REFUSED
    if type(failure).__name__ == "AcceptedNegativeData":
        wrong = case.meta.phase.data.mutations
        return bool(wrong) and all(_ignored(case, one) for one in wrong)
    return False


def _ignored(case: Any, mutation: Any) -> bool:
    """Whether what was made wrong is something that is not looked at."""
    parts = {str(part) for part in (mutation.parameter, *mutation.path)}
    empty = {name for name in EMPTY if (case.query or {}).get(name) == ""}
    return bool(parts & (ACCEPTED.keys() | READ_ONLY | empty))


def _field(message: str) -> str:
    """The field that a refusal names, as far as REFUSED knows it."""
    field = re.sub(r"\[\d+\]", "", message.partition(":")[0])
    while field and field not in REFUSED and "." in field:
        field = field.rpartition(".")[0]
    return field


def test_sequences_of_requests_meet_every_check(api: Any, plane: ServingPlane) -> None:
    class Machine(api.as_state_machine()):  # type: ignore[misc]
        _hypothesis_internal_use_seed = SEED

        def setup(self) -> None:
            plane.empty()

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": _headers(plane)}

        def before_call(self, case: Any) -> None:
            _prepare(case, plane)

        def after_call(self, response: Any, case: Any) -> None:
            plane.settle()

        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            _check(case, response)

    Machine.run(settings=_settings(SEQUENCES))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_requests_to_each_operation_meet_every_check(api: Any, plane: ServingPlane, mode: GenerationMode) -> None:
    for found in api.get_all_operations():
        operation = found.ok()

        @seed(SEED)
        @_settings(EXAMPLES)
        @given(case=operation.as_strategy(generation_mode=mode))
        def attempt(case: Any) -> None:
            _prepare(case, plane)
            _check(case, case.call(headers=_headers(plane), timeout=30))

        try:
            attempt()
        except Unsatisfiable:
            continue  # nothing of this operation can be wrong
