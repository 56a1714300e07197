"""`docs/semantics.md` names a test for each rule, and every test that a document names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]
PROMISES = ROOT / "docs" / "semantics.md"
SOURCES = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "src" / "homeport" / "testing").glob("*suite*.py")]
TESTS = {name for source in SOURCES for name in re.findall(r"^\s*(?:async )?def (test_\w+)", source.read_text(), re.M)}


def missing(text: str) -> list[str]:
    """The tests that a text names and that there are not."""
    return [name for name in re.findall(r"`(test_\w+)`", text) if name not in TESTS]


def untested(text: str) -> list[str]:
    """The rows of tables that name no test."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| rule |")]
    return [row for row in rows if not re.search(r"`test_\w+`[^|]*\|$", row)]


def test_every_rule_names_a_test() -> None:
    assert untested(PROMISES.read_text()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_test_that_a_document_names_is_there(document: Path) -> None:
    assert missing(document.read_text()) == []


def test_a_rule_without_a_test_would_be_noticed() -> None:
    assert missing("| a rule | `test_that_nobody_wrote` |") == ["test_that_nobody_wrote"]
    assert untested("| rule | shown by |\n|---|---|\n| a rule | some day |") == ["| a rule | some day |"]
