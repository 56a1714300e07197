"""Logins of registries as Docker's clients write them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.core.errors import Invalid
from homeport.core.images import read_image
from homeport.core.logins import CONFIG_BYTES, FIELD, Login, Logins, read_docker_config, registry_host
from homeport.drivers.docker.logins import build_header, pull_header

SECRET = "hush-Zq7"


def auth(user: str = "me", password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def config(**auths: object) -> str:
    return json.dumps({"auths": auths})


def read(text: object) -> Logins:
    return read_docker_config({"runtime": {"dockerConfig": text}})


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("ghcr.io/org/x:1", "ghcr.io"),
        ("ghcr.io/org/x:1", "https://ghcr.io"),
        ("ghcr.io/org/x:1", "https://ghcr.io/v2/"),
        ("GHCR.io/org/x:1", "ghcr.io"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000"),
        ("127.0.0.1:5000/x", "http://127.0.0.1:5000/"),
        ("localhost/x", "localhost"),
        ("x", "https://index.docker.io/v1/"),
        ("org/x:2", "docker.io"),
        ("docker.io/org/x", "index.docker.io"),
        ("index.docker.io/org/x", "https://index.docker.io/v1/"),
        ("registry-1.docker.io/org/x", "docker.io"),
    ],
)
def test_a_login_is_found_for_the_registry_of_an_image_as_docker_finds_it(image: str, key: str) -> None:
    reference = read_image({"runtime": {"image": image}})
    assert reference is not None
    found = read(config(**{key: auth()})).of(reference.registry)
    assert found is not None and found.fields == {"username": "me", "password": SECRET}


@pytest.mark.parametrize(
    ("image", "key"),
    [("ghcr.io/x/y", "ghcr.io:443"), ("127.0.0.1:5000/x", "127.0.0.1:5001"), ("x", "ghcr.io"), ("a.io/x", "b.a.io")],
)
def test_a_login_is_sent_to_no_other_registry(image: str, key: str) -> None:
    reference = read_image({"runtime": {"image": image}})
    assert reference is not None and read(config(**{key: auth()})).of(reference.registry) is None


def test_the_plain_name_of_a_registry_wins_over_addresses_that_mean_the_same() -> None:
    for order in (("ghcr.io", "https://ghcr.io"), ("https://ghcr.io", "ghcr.io")):
        found = read(config(**{key: auth(user=key) for key in order})).of("ghcr.io")
        assert found is not None and found.fields["username"] == "ghcr.io"


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        ({"username": "u", "password": "p"}, {"username": "u", "password": "p"}),
        ({**auth("u", "a:b")}, {"username": "u", "password": "a:b"}),
        ({**auth("u", "p\0"), "email": "x@y"}, {"username": "u", "password": "p"}),
        ({"identitytoken": "t"}, {"identitytoken": "t"}),
        ({**auth("u", ""), "identitytoken": "t"}, {"username": "u", "password": "", "identitytoken": "t"}),
        ({"registrytoken": "t"}, {"registrytoken": "t"}),
    ],
)
def test_every_form_of_a_login_is_read(entry: dict[str, str], fields: dict[str, str]) -> None:
    found = read(config(**{"r.io": entry})).of("r.io")
    assert found is not None and found.fields == fields and found.source == "runtime.dockerConfig"


def test_no_configuration_holds_no_login() -> None:
    for nothing in (None, "", '{"auths": {}}'):
        assert read(nothing).known == {}
    assert read_docker_config({}).known == {}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (SECRET, "must be JSON"),
        (f'{{"auths": "{SECRET}"', "must be JSON"),
        (json.dumps(SECRET), "must be JSON"),
        (json.dumps({"https://r.io": auth()}), "must be JSON"),
        (json.dumps({"auths": [SECRET]}), "must be JSON"),
        ("[" * 50_000, "must be JSON"),
        ({"auths": {}}, "as a string"),
        (config(**{"r.io": SECRET}), "the entry for r.io has another form"),
        (config(**{"r.io": {"auth": 5}}), "the entry for r.io has another form"),
        (config(**{"r.io": {"password": SECRET}}), "holds no login for r.io"),
        (config(**{"r.io": {}}), "holds no login for r.io"),
        (config(**{"r.io": {"auth": f"{SECRET}!"}}), "is no base64"),
        (config(**{"r.io": {"auth": base64.b64encode(SECRET.encode()).decode()}}), "lacks the user or the colon"),
        (config(**{"r.io": auth(user="")}), "lacks the user or the colon"),
        (config(**{f"me:{SECRET}@r.io": auth()}), "must name registries"),
        (json.dumps({"auths": {}, "credsStore": SECRET}), "a program that keeps logins (credsStore)"),
        (json.dumps({"auths": {}, "credHelpers": {"r.io": SECRET}}), "a program that keeps logins (credHelpers)"),
        (json.dumps({"auths": {"r.io": {"auth": "A" * CONFIG_BYTES}}}), f"at most {CONFIG_BYTES} bytes"),
    ],
)
def test_what_holds_no_login_is_refused_by_its_rule_and_repeats_nothing(text: object, rule: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(text)
    assert refused.value.field == FIELD and rule in refused.value.message
    said = f"{refused.value.message} {refused.value.detail} {refused.value.hint}"
    assert SECRET not in said and base64.b64encode(SECRET.encode()).decode() not in said


@given(
    st.text(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5).map(json.dumps)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except Invalid as error:
        assert error.field == FIELD


@given(st.text(max_size=100))
def test_a_registry_is_a_host_or_nothing(text: str) -> None:
    host = registry_host(text)
    assert host is None or (host == host.lower() and "/" not in host and "@" not in host)


def test_the_headers_say_what_the_engines_api_asks_for() -> None:
    logins = read(config(**{"r.io:5": auth(), "docker.io": {"identitytoken": "t"}}))
    pull = pull_header(logins.of("r.io:5"), "r.io:5")["X-Registry-Auth"]
    said = json.loads(base64.urlsafe_b64decode(pull))
    assert said == {"username": "me", "password": SECRET, "serveraddress": "r.io:5"}
    build = json.loads(base64.urlsafe_b64decode(build_header(logins)["X-Registry-Config"]))
    assert build == {
        "r.io:5": {"username": "me", "password": SECRET},
        "https://index.docker.io/v1/": {"identitytoken": "t"},
    }
    assert pull_header(None, "r.io") == {} and build_header(Logins()) == {}


def test_logins_show_nothing_when_printed_and_the_nearer_one_counts() -> None:
    mine, theirs = (Login(source=name, fields={"password": SECRET}) for name in ("mine", "theirs"))
    both = Logins({"a": mine}).over(Logins({"a": theirs, "b": theirs}))
    assert (both.of("a"), both.of("b"), both.of("c")) == (mine, theirs, None)
    assert SECRET not in repr(both)
