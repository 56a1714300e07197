"""Names of images, as people write them: what no engine would take is refused when it is read."""

import pytest

from homeport.core.errors import Invalid
from homeport.core.images import read_image


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
