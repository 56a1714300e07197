"""Dockerfiles with labels of ours, `.dockerignore`, and the context that an engine gets."""

import tarfile
from pathlib import Path

import pytest

from homeport.build.context import RUN, pack_context
from homeport.build.dockerfile import labelled
from homeport.build.dockerignore import read_ignore
from homeport.core.clock import SystemClock
from homeport.core.errors import Invalid

LAYER, IMAGE = {"homeport.builder": "abc"}, {"homeport.name": 'say "x"'}
OURS, LAST = 'LABEL homeport.builder="abc"', 'LABEL homeport.name="say \\"x\\""'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN x", ["FROM a", OURS, "RUN x", LAST]),
        ("ARG B=c\nfrom $B as one\n\n# FROM no\nFROM d\n",
         ["ARG B=c", "from $B as one", OURS, "", "# FROM no", "FROM d", OURS, LAST]),
        ("FROM \\\n  a \\\n# between\n\n  AS b\nRUN y",
         ["FROM \\", "  a \\", "# between", "", "  AS b", OURS, "RUN y", LAST]),
        ("FR\\\n# between\nOM\\\n a\nRUN y", ["FR\\", "# between", "OM\\", " a", OURS, "RUN y", LAST]),
        ("FROM a\nRUN x\u2028FROM y\fz\n", ["FROM a", OURS, "RUN x\u2028FROM y\fz", LAST]),
        ("FROM a\nRUN x \\\nFROM y\n", ["FROM a", OURS, "RUN x \\", "FROM y", LAST]),
        ("FROM a\nRUN <<EOF\nFROM t\nEOF\nRUN z", ["FROM a", OURS, "RUN <<EOF", "FROM t", "EOF", "RUN z", LAST]),
        ("# escape=`\nFROM a\nRUN c:\\\nRUN x `\n  y\n",
         ["# escape=`", "FROM a", OURS, "RUN c:\\", "RUN x `", "  y", LAST]),
        ("FROM a\nRUN x \\\n", ["FROM a", OURS, "RUN x ", LAST]),
        ("FROM a\nRUN x \\\n\\\n# end\n", ["FROM a", OURS, "RUN x ", "", "# end", LAST]),
        ("\ufeffFROM a\r\nCMD b\r\n", ["FROM a", OURS, "CMD b", LAST]),
    ],
)  # fmt: skip
def test_labels_follow_each_from_and_the_end_and_nothing_else_changes(text: str, expected: list[str]) -> None:
    found = labelled(text, LAYER, IMAGE)
    lines = found.text.removesuffix("\n").split("\n")
    assert lines == expected
    assert [lines[line - 1] for line in found.added] == [line for line in expected if line in (OURS, LAST)]


def test_a_file_that_ends_in_the_middle_of_a_long_instruction_is_ended_in_one_go() -> None:
    """20,000 lines, each looked at once; looked at once for each other it would take a minute."""
    found = labelled("FROM a\nRUN x \\\n" + "y \\\n" * 20_000, LAYER, IMAGE)
    assert found.text.endswith(f"y \\\ny \n{LAST}\n")


def test_a_dockerfile_without_from_is_refused() -> None:
    with pytest.raises(Invalid, match=r"Dockerfile.*must hold an instruction FROM"):
        labelled("# FROM a\nRUN x\n", LAYER, IMAGE)


def test_lines_in_messages_are_those_that_people_wrote() -> None:
    found = labelled("FROM a\nFROM b\nNONSENSE\n", LAYER, IMAGE)
    assert found.text.splitlines()[4] == "NONSENSE"
    assert found.as_written("parse error line 5: unknown") == "parse error line 3: unknown"


def is_left_out(rules: str, path: str) -> bool:
    ignore, fitting = read_ignore(rules), frozenset[int]()
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        fitting = ignore.fitting("/".join(parts[:count]), fitting)
    return ignore.excludes(fitting)


@pytest.mark.parametrize(
    ("rules", "path", "excluded"),
    [
        ("node_modules", "node_modules/a/b.js", True),
        ("node_modules", "web/node_modules/b.js", False),
        ("**/node_modules", "web/node_modules/b.js", True),
        ("**/node_modules", "node_modules/b.js", True),
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("*.md\n!README.md", "README.md", False),
        ("!README.md\n*.md", "README.md", True),
        ("/dist/", "dist/x", True),
        ("./a/../b", "b", True),
        ("# b\n \n  b  ", "b", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a]x", "bx", True),
        ("docs/**/*.txt", "docs/a/b/c.txt", True),
        ("docs/**", "docs/a", True),
        ("docs/**", "docs", False),
        ("**", "a/b", True),
        ("**.pyc", "a/.pyc", True),
        ("**.pyc", "a/b.pyc", False),
        ("a/**/b*c/**/d", "a/x/bxxc/d", True),
        ("a/**/b*c/**/d", "a/x/bxx/c/d", False),
        ("a/lo**", "a/log/x", True),
        ("*a*b*", "xaxb", True),
        ("*a*b*", "xbxa", False),
        ("*a*a", "aba", True),
        ("*.tar.gz", "a.tar.tar.gz", True),
        ("*", "x/y", True),
        ("*\n!src", "src/main.py", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("a.c", "abc", False),
        (".", "a", False),
    ],
)
def test_dockerignore_follows_the_rules_of_dockers_clients(rules: str, path: str, excluded: bool) -> None:
    assert is_left_out(rules, path) is excluded


@pytest.mark.parametrize(
    ("rules", "path"),
    [("**/" * 200 + "x", "a/" * 60 + "b"), ("*a" * 80 + "*b", "a" * 255), ("**/*a/" * 15 + "*b/x", "a/" * 60 + "a")],
)
def test_no_pattern_takes_long(rules: str, path: str) -> None:
    began = SystemClock().monotonic()
    assert not is_left_out(rules, path)
    assert SystemClock().monotonic() - began < 2


@pytest.mark.parametrize(
    ("rules", "line"), [("a\n!", "line 2"), ("[a", "line 1"), ("[z-a]", "line 1"), ("a**b", "line 1")]
)
def test_a_line_that_is_no_pattern_is_named(rules: str, line: str) -> None:
    with pytest.raises(Invalid, match=f"dockerignore.*{line}"):
        read_ignore(rules)


def test_a_context_holds_what_is_not_ignored_and_the_dockerfile_twice(tmp_path: Path) -> None:
    app = tmp_path / "app"
    for name in ("a.py", "skipped/deep/kept.txt", "skipped/x", "empty/", "Dockerfile"):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).mkdir() if name.endswith("/") else (app / name).write_text(name)
    (app / ".dockerignore").write_text("skipped\n!skipped/deep/kept.txt\nDockerfile")
    (app / "a.py").chmod(0o755)
    assert pack_context(app, tmp_path / "context.tar", "FROM x") == 3
    with tarfile.open(tmp_path / "context.tar") as tar:
        found = {entry.name: entry for entry in tar}
        assert {*found} == {
            *("a.py", "skipped", "skipped/deep", "skipped/deep/kept.txt", "empty", "Dockerfile", ".dockerignore", RUN)
        }
        assert found["a.py"].mode & 0o111 and found["a.py"].uid == 0 and found["a.py"].mtime > 10**9
        ignored = tar.extractfile(".dockerignore")
        assert ignored is not None and ignored.read().decode().splitlines()[-2:] == ["Dockerfile", RUN]


def test_a_context_without_dockerignore_shows_none_to_copy(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "Dockerfile").write_text("FROM x")
    pack_context(app, tmp_path / "context.tar", "FROM x")
    with tarfile.open(tmp_path / "context.tar") as tar:
        ignored = tar.extractfile(".dockerignore")
        assert ignored is not None and ignored.read().decode().splitlines() == [RUN, ".dockerignore"]
