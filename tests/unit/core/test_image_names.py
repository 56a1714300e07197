"""Names of images, as people write them: what no engine would take is refused when it is read, and what would mean
another path of its API."""

import pytest

from homeport.core.errors import Invalid
from homeport.core.images import parse_reference, read_image

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("name", ["n" * 255, f"ghcr.io/{'n' * 247}:{'t' * 128}"])
def test_a_name_of_255_characters_and_a_tag_of_128_are_taken(name: str) -> None:
    found = read_image({"runtime": {"image": name}})
    assert found is not None and found.text == name


@pytest.mark.parametrize("name", ["n" * 256, f"ghcr.io/{'n' * 248}:1", f"web:{'t' * 129}", "Web:1", "web:"])
def test_what_no_engine_takes_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_image({"runtime": {"image": name}})
    assert caught.value.field == "spec.runtime.image"
    assert "in lower case and of 255 characters at most, the tag of 128" in caught.value.rule


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("python", "docker.io"),
        ("python:3.11-slim", "docker.io"),
        ("team/app__x.y-z:V_1", "docker.io"),
        ("Registry.example.com:5000/a/b:c", "registry.example.com:5000"),
        ("my-registry.example/a", "my-registry.example"),
        ("localhost/a", "localhost"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000"),
        (f"ghcr.io/a/b:c@{DIGEST}", "ghcr.io"),
    ],
)
def test_a_name_tells_its_registry(text: str, registry: str) -> None:
    found = parse_reference(text)
    assert found is not None and found.registry == registry and found.text == text


@pytest.mark.parametrize(
    "text",
    [
        "../containers/x", "..:1/x", "a/../b", "./x", "-a/x", "a./x", "a..b/x", "a?b", "a#b", "a%2fb", "a/b?c=d:e",
        "a//b", "/a", "a/", "x:..", "x:%41", "x:é", "host:\u0663/x", "host:123456/x", "http://a/b", "a b",
        f"a@{DIGEST[:-1]}",
    ],
)  # fmt: skip
def test_what_would_mean_another_path_is_no_name(text: str) -> None:
    with pytest.raises(Invalid, match=r"runtime\.image: must be \[registry/\]name"):
        read_image({"runtime": {"image": text}})
