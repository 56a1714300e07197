"""Whatever is sent, the answer is the contract's: too much, of the wrong kind, no JSON, or JSON that nobody expects."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.api.bodies import BodyLimit, JsonRoute
from homeport.api.errors import install_error_handlers
from homeport.core.limits import BODY_BYTES, UPLOAD_BYTES
from homeport.testing.control_plane import HOME, ControlPlane, running_control_plane

WRITES = (
    ("POST", "/v0/policies"),
    ("PUT", "/v0/policies/one"),
    ("POST", "/v0/agents"),
    ("PUT", "/v0/agents/one"),
    ("POST", "/v0/jobs"),
    ("PUT", "/v0/jobs/one"),
    ("POST", "/v0/jobs/one/executions"),
    ("POST", f"/{HOME}/jobs/one/executions"),
    ("POST", "/oauth/token"),
    ("POST", "/v0/models"),
)
READERS = WRITES[:-1]  # the last is not read


def check_shape(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert isinstance(body, dict)
    assert body["code"] == answer.status_code and isinstance(body["error"], str) and body["message"], answer.text
    return body


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_every_route_with_a_json_body_reads_it_strictly(plane: ControlPlane) -> None:
    for context in iter_route_contexts(plane.app.routes):
        route = getattr(context, "original_route", context)
        if isinstance(route, APIRoute) and route.body_field is not None:
            assert isinstance(route, JsonRoute), route.path


async def test_a_body_that_is_too_large_is_413_whether_or_not_it_says_so(plane: ControlPlane) -> None:
    large = b'{"metadata":{"name":"one"},"spec":{"x":"' + b"x" * BODY_BYTES + b'"}}'
    for method, path in (
        ("POST", "/v0/agents"),
        ("GET", "/v0/agents"),
        ("GET", "/v0/nothing"),
        ("POST", "/oauth/token"),
    ):
        answer = await plane.api.request(method, path, content=b"", headers={"Content-Length": str(BODY_BYTES + 1)})
        assert (answer.status_code, check_shape(answer)["error"]) == (413, "TooLarge"), path
    pieces = [large[at : at + 2**20] for at in range(0, len(large), 2**20)]
    for path in ("/v0/agents", "/v0/jobs/one/executions", "/oauth/token"):
        answer = await plane.api.post(path, content=in_pieces(*pieces))
        assert "Content-Length" not in answer.request.headers
        assert (answer.status_code, check_shape(answer)["error"]) == (413, "TooLarge"), path
    assert str(BODY_BYTES) in check_shape(answer)["message"]


async def test_archives_have_a_limit_of_their_own(plane: ControlPlane) -> None:
    made = await plane.api.post("/v0/agents?upload=true", json={"metadata": {"name": "one"}, "spec": {}})
    address = made.headers["X-Blaxel-Upload-Url"]
    more_than_json = in_pieces(*[bytes(2**20)] * (BODY_BYTES // 2**20 + 1))
    answer = await plane.http.put(address, content=more_than_json)
    assert (answer.status_code, "zip" in check_shape(answer)["message"]) == (400, True)
    answer = await plane.http.put(address, headers={"Content-Length": str(UPLOAD_BYTES + 1)})
    assert answer.status_code == 413
    assert not list(plane.context.data.uploads.iterdir())


async def test_the_limit_is_exact_and_counts_what_arrives() -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.post("/{path:path}")
    async def count(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimit, body_bytes=10, upload_bytes=20)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        for path, most in (("/v0/agents", 10), ("/v0/homeport/uploads/x", 20), ("/v0/homeport/uploadsx", 10)):
            for pieces in ((b"x" * most,), (b"x",) * most):
                assert (await client.post(path, content=in_pieces(*pieces))).json() == most
                assert (await client.post(path, content=in_pieces(*pieces, b"x"))).status_code == 413
            assert (await client.post(path, content=b"x" * most)).json() == most
            assert (await client.post(path, content=b"x" * (most + 1))).status_code == 413
        # A length that is a lie: the bytes are counted all the same.
        for said in ("1", "-5", "x", "", "0"):
            answer = await client.post("/v0/agents", content=in_pieces(b"x" * 11), headers={"Content-Length": said})
            assert answer.status_code == 413
        assert (await client.post("/v0/agents", headers={"Content-Length": "9" * 5000})).status_code == 413


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"]
)
async def test_another_kind_of_body_is_415(plane: ControlPlane, kind: str) -> None:
    for method, path in WRITES[:8]:
        answer = await plane.api.request(method, path, content=b"{}", headers={"Content-Type": kind})
        assert (answer.status_code, check_shape(answer)["error"]) == (415, "UnsupportedMediaType"), path


async def test_a_refused_method_is_told_every_one_that_is_served(plane: ControlPlane) -> None:
    for path, served in (("/v0/agents", "GET, POST"), ("/v0/agents/x", "DELETE, GET, PUT"), ("/v0/locations", "GET")):
        answer = await plane.api.patch(path, json={})
        assert (answer.status_code, answer.headers["Allow"]) == (405, served)


async def test_a_field_that_may_be_of_two_types_is_named_without_them(plane: ControlPlane) -> None:
    for field in ("timeout", "ttl"):
        body = {"metadata": {"name": "one"}, "spec": {"runtime": {field: True}}}
        answer = await plane.api.post("/v0/jobs?upload=true", json=body)
        assert (answer.status_code, check_shape(answer)["message"].split(":")[0]) == (400, f"spec.runtime.{field}")
    answer = await plane.api.post("/v0/jobs/one/executions", json={"executionId": "../x"})
    assert "executionId: must match ^[A-Za-z0-9]" in check_shape(answer)["message"]


async def test_json_is_read_under_its_names_and_under_none(plane: ControlPlane) -> None:
    for index, kind in enumerate(
        ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json", "")
    ):
        body = {"metadata": {"name": f"a{index}"}, "spec": {}}
        headers = {"Content-Type": kind} if kind else {}
        answer = await plane.api.post("/v0/agents?upload=true", content=json.dumps(body).encode(), headers=headers)
        assert answer.status_code == 200, (kind, answer.text)


NO_JSON = (
    b"{",
    b"nul",
    b"{'a': 1}",
    b"[1,]",
    b'{"a":1} x',
    b"NaN",
    b'{"metadata":{"name":"one"},"spec":{"x":NaN}}',
    b'{"metadata":{"name":"one"},"spec":{"x":-Infinity}}',
    b'{"metadata":{"name":"one"},"spec":{"x":1e999}}',
    b'{"metadata":{"name":"one"},"spec":{"x":' + b"9" * 400 + b".5}}",
    b'{"metadata":{"name":"one"},"spec":{"x":' + b"9" * 5000 + b"}}",
    b'{"metadata":{"name":"one"},"spec":{"x":"\\ud800"}}',
    b'{"metadata":{"name":"one"},"spec":{"\\udfff":1}}',
    b'{"metadata":{"name":"one"},"spec":{"x":"\xff"}}',
    "{}".encode("utf-16"),
    b"\xef\xbb\xbf{}",
    b"\0",
    b"[" * 100_000,
    b'{"metadata":{"name":"one"},"spec":' + b'{"x":' * 500 + b"1" + b"}" * 501,
    b'{"tasks":' + b"[" * 500 + b"]" * 500 + b"}",
)


async def test_what_is_no_json_is_400_and_says_where(plane: ControlPlane) -> None:
    for method, path in READERS:
        for body in NO_JSON:
            answer = await plane.api.request(method, path, content=body)
            message = check_shape(answer)["message"]
            assert (answer.status_code, message.startswith("body: must be valid JSON")) == (400, True), (
                path,
                body[:60],
            )
            assert len(answer.content) < 600


async def test_an_absent_body_and_one_that_is_no_object_are_400(plane: ControlPlane) -> None:
    for method, path in READERS:
        for body in (b"", b"null", b"[]", b'"text"', b"1", b"true", b"[[[]]]"):
            answer = await plane.api.request(method, path, content=body)
            assert (answer.status_code, "body" in check_shape(answer)["message"] or "oauth" in path) == (400, True), (
                path
            )


async def test_what_is_odd_but_valid_is_kept_as_it_is(plane: ControlPlane) -> None:
    """The deepest nesting that is read, the longest number, every plane of Unicode: stored, and answered with."""
    deep: Any = 1
    for _ in range(190):
        deep = {"x": [deep]} if _ % 2 else {"x": deep}
    while json.dumps(deep).count("[") + json.dumps(deep).count("{") > 190:
        deep = next(iter(deep.values()))
        deep = deep[0] if isinstance(deep, list) else deep
    odd = {
        "deep": deep,
        "int": int("9" * 4000),
        "text": "nul \0 \u202e \U0001f600 \uffff é e\u0301",
        "float": 1e308,
        "": "",
    }
    made = await plane.api.post("/v0/agents?upload=true", json={"metadata": {"name": "odd"}, "spec": {"odd": odd}})
    assert made.status_code == 200, made.text[:300]
    assert (await plane.api.get("/v0/agents/odd")).json()["spec"]["odd"] == odd
    assert (await plane.api.get("/v0/agents")).json()["data"][0]["spec"]["odd"] == odd
    assert (await plane.api.put("/v0/agents/odd?upload=true", json=made.json())).status_code == 200
    await plane.make_job("sums")
    run = await plane.api.post("/v0/jobs/sums/executions", json={"tasks": [odd], "executionId": "odd"})
    assert run.json()["tasks"] == [odd]


async def test_odd_addresses_are_answered_in_shape(plane: ControlPlane) -> None:
    for path in (
        "/v0/agents/%00",
        "/v0/agents/%ED%A0%80",
        "/v0/agents/%FF",
        "/v0/agents/" + "x" * 5000,
        "/v0/agents/a%2Fb",
        "/v0/agents/%2e%2e",
        "/v0/jobs/%00/executions/%00",
        "/v0/jobs/x/executions/%ED%A0%80/tasks",
        "/v0/homeport/logs/agent/%00",
        "/v0/homeport/logs/agents/x?task=9" + "9" * 40,
        "/v0/homeport/logs/agents/x?source=other",
        "/v0/homeport/logs/agents/x?tail=-1",
        "/v0/homeport/explain/%00/x",
        "/v0/homeport/task-data/%00",
        "/v0/homeport/task-data/" + "x" * 9000,
        "/v0/agents/x?show_secrets=maybe",
    ):
        for headers in ({}, {"Host": "["}, {"Host": ""}):
            answer = await plane.api.get(path, headers=headers)
            assert 400 <= answer.status_code < 500, (path, answer.text)
            check_shape(answer)


async def test_a_secret_in_a_body_that_is_refused_is_not_repeated(plane: ControlPlane) -> None:
    secret = "hush-hush-hush"
    for spec in (
        {"runtime": {"envs": [{"name": "A", "value": {"x": secret}}]}},
        {"runtime": {"envs": [{"name": "A", "value": [secret], "secret": True}]}},
        {"runtime": {"envs": [{"name": "A", "value": secret, "secret": secret}]}},
        {"runtime": {"envs": secret}},
        {"runtime": {"envs": [secret]}},
        {"runtime": {"envs": [{"name": "A", "value": secret + "\0"}]}},
        {"runtime": {"memory": 1, "envs": [{"name": "A", "value": secret, "secret": True}]}},
        {"region": "mars", "runtime": {"envs": [{"name": "A", "value": secret, "secret": True}]}},
        {"policies": ["none"], "runtime": {"envs": [{"name": "A", "value": secret, "secret": True}]}},
    ):
        for path in ("agents", "jobs"):
            body = {"metadata": {"name": "one"}, "spec": spec}
            answer = await plane.api.post(f"/v0/{path}?upload=true", json=body)
            assert answer.status_code in (400, 403), answer.text
            assert secret not in answer.text
    await plane.make_job("sums")
    for sent in ({"env": {"A": [secret]}}, {"env": secret}, {"env": {"A": secret}, "memory": -1}, {"tasks": [secret]}):
        answer = await plane.api.post("/v0/jobs/sums/executions", json=sent)
        assert (answer.status_code, secret in answer.text) == (400, False)


TEXTS = st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
KEYS = (
    TEXTS
    | st.sampled_from(["metadata", "spec", "name", "labels", "runtime", "envs", "value", "secret", "memory", "timeout"])
    | st.sampled_from(
        ["type", "tasks", "configuration", "env", "id", "region", "locations", "step", "total", "minScale"]
    )
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)
# Most are nearly right: what is wrong is found deep, not at the first step.
NAMES = st.sampled_from(["one", "two", "UPPER"]) | TEXTS
NEARLY = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": NAMES}, optional={"labels": ANYTHING, "displayName": SCALARS})},
    optional={
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["location", "flavor", "maxToken"]) | SCALARS,
                "runtime": ANYTHING,
                "policies": ANYTHING,
                "region": SCALARS,
                "locations": st.lists(st.dictionaries(KEYS, SCALARS, max_size=3), max_size=2) | ANYTHING,
                "flavors": ANYTHING,
                "maxTokens": ANYTHING,
                "triggers": st.lists(ANYTHING, max_size=2),
                "enabled": SCALARS,
            },
        )
        | ANYTHING
    },
)
EXECUTIONS = st.fixed_dictionaries(
    {}, optional={key: ANYTHING for key in ("tasks", "env", "memory", "executionId", "id", "allowQueue")}
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(bodies=st.lists(st.tuples(st.sampled_from(WRITES), NEARLY | ANYTHING | EXECUTIONS), min_size=20, max_size=20))
def _throw(address: ControlPlane, loop: asyncio.AbstractEventLoop, bodies: list[Any]) -> None:
    async def send() -> None:
        for (method, path), body in bodies:
            answer = await address.api.request(method, path, params={"upload": "true"}, json=body)
            assert answer.status_code < 500, (method, path, body, answer.text)
            if answer.status_code != 200:
                check_shape(answer)
            read = await address.api.get(path)
            assert read.status_code < 500, (method, path, body, read.text)

    loop.run_until_complete(send())


def test_whatever_is_thrown_at_a_write_is_answered_in_shape(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    context = running_control_plane(tmp_path / "data")
    plane = loop.run_until_complete(context.__aenter__())
    try:
        loop.run_until_complete(plane.make_job("one"))
        _throw(plane, loop)
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()
