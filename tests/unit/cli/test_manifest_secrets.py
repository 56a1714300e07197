"""Manifests may hold secrets: what is wrong with one is said without its words."""

from pathlib import Path

import pytest

from homeport.cli.documents import read_documents
from homeport.core.errors import Invalid


@pytest.mark.parametrize("text", ["a: *hush", "a: !hush b", "a: {hush: hush: hush", "- hush\nb: 'hush"])
def test_a_file_that_is_no_yaml_is_refused_by_place_and_without_its_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(Invalid, match=r"neither YAML nor JSON: line \d+, column \d+") as caught:
        read_documents([path], recursive=False, given={})
    assert "hush" not in caught.value.for_caller()
