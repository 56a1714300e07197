"""What a failed pull is told as: the words are those of engines and registries."""

import pytest

from homeport.core.images import ImageReference, read_image
from homeport.core.logins import Login, Logins
from homeport.drivers.docker.refusals import base_refusal, refusal_of

LOGIN = Login(source="runtime.dockerConfig", fields={"username": "ada", "password": "hush"})


def reference(image: str = "r.io/team/tool:1") -> ImageReference:
    found = read_image({"runtime": {"image": image}})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('Head "https://r.io/v2/team/tool/manifests/1": no basic auth credentials', "asks for a login"),
        ("unauthorized: authentication required", "asks for a login"),
        (
            "pull access denied for r.io/team/tool, repository does not exist or may require 'docker login': denied: "
            "requested access to the resource is denied",
            "asks for a login",
        ),
        ("failed to resolve reference: unexpected status from HEAD request: 401 Unauthorized", "asks for a login"),
        ("unable to retrieve auth token: invalid username/password: unauthorized", "asks for a login"),
        ("manifest for r.io/team/tool:1 not found: manifest unknown: manifest unknown", "no such image or tag"),
        ("reading manifest 1 in r.io/team/tool: manifest unknown", "no such image or tag"),
        ("toomanyrequests: You have reached your unauthenticated pull rate limit.", "limits how often"),
        ("unexpected status: 429 Too Many Requests", "limits how often"),
        ('Get "https://r.io/v2/": dial tcp: lookup r.io on 10.0.0.1:53: no such host', "knows no registry r.io"),
        ('Get "http://r.io/v2/": dial tcp 10.0.0.1:80: connect: connection refused', "does not answer"),
        (
            'Get "http://r.io/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)',
            "does not answer",
        ),
        ('Get "https://r.io/v2/": net/http: TLS handshake timeout', "does not answer"),
        ('Get "https://r.io/v2/": x509: certificate signed by unknown authority', "does not trust the certificate"),
        ('Get "https://r.io/v2/": http: server gave HTTP response to HTTPS client', "does not trust the certificate"),
        ("received unexpected HTTP status: 500 Internal Server Error", "r.io fails"),
    ],
)
def test_each_kind_is_told_with_the_engines_words_and_a_next_step(said: str, why: str) -> None:
    refusal = refusal_of(reference(), None, said)
    assert why in refusal.message and said in refusal.message and refusal.hint


def test_a_missing_login_is_told_with_how_to_give_one_and_a_refused_one_with_where_it_came_from() -> None:
    said = "unauthorized: authentication required"
    missing = refusal_of(reference(), None, said).for_caller()
    assert "none was given" in missing
    assert "homeport registry login r.io -u USER" in missing and "runtime.dockerConfig" in missing
    refused = refusal_of(reference(), LOGIN, said).for_caller()
    assert "refuses the login from runtime.dockerConfig" in refused
    assert "hush" not in refused and "ada" not in refused


def test_words_in_the_name_of_an_image_decide_nothing() -> None:
    refusal = refusal_of(reference("r.io/denied/timeout:1"), None, "manifest for r.io/denied/timeout:1 not found")
    assert "no such image or tag" in refusal.message


def test_unknown_words_are_handed_on_and_long_ones_are_cut() -> None:
    refusal = refusal_of(reference(), LOGIN, "write /var/lib: no space left on device " + "x" * 5000)
    assert "with the login from runtime.dockerConfig" in refusal.message
    assert "no space left on device" in refusal.message and len(refusal.message) < 700


@pytest.mark.parametrize("step", ["FROM r.io/team/tool:1", "from --platform=linux/amd64 r.io/team/tool:1 AS base"])
def test_the_base_of_a_dockerfile_is_told_in_the_same_way(step: str) -> None:
    refusal = base_refusal(step, Logins({"r.io": LOGIN}), "unauthorized: authentication required")
    assert refusal is not None and "r.io refuses the login from runtime.dockerConfig" in refusal.message


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("RUN curl r.io", "connection refused"),
        ("FROM ${BASE}", "denied"),
        ("FROM", "denied"),
        ("", "denied"),
        ("FROM r.io/x", "write: no space left on device"),
    ],
)
def test_what_is_no_pull_of_a_base_stays_in_the_engines_words(step: str, said: str) -> None:
    assert base_refusal(step, Logins(), said) is None
