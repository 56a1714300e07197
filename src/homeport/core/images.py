"""References to images as people write them, `[registry/]name[:tag][@sha256:digest]`. Looks nothing up."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.logins import HUB, registry_host
from homeport.core.spec import read_object, read_text

FIELD = "spec.runtime.image"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LENGTH = 512
# The contract's own images, such as `agent/name:latest`. Nobody's on the public hub shall be taken for one.
_OWN = re.compile(r"(agent|function|job|sandbox|application|blaxel)s?/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """`name` with its registry where it has one. `tag` and `digest` are None where it has none."""

    text: str
    name: str
    tag: str | None
    digest: str | None

    @property
    def registry(self) -> str:
        """Where it is pulled from, as logins name it."""
        first, slash, _ = self.name.partition("/")
        named = slash and (set(".:") & set(first) or first == "localhost")
        return registry_host(first) or first if named else HUB

    @property
    def moves(self) -> bool:
        """Whether it may mean another image tomorrow without anybody being astonished: no tag, or `latest`."""
        return self.digest is None and self.tag in (None, "latest")


def read_image(spec: Mapping[str, Any]) -> ImageReference | None:
    """The image that a specification names; None for none, which empty is, too. Raises `Invalid`."""
    text = read_text(read_object(spec, "runtime", "spec.runtime"), "image", FIELD)
    if not text:
        return None
    found = _REFERENCE.fullmatch(text) if len(text) <= _LENGTH else None
    if found is None:
        raise Invalid(FIELD, "must be [registry/]name[:tag][@sha256:digest], the name in lower case", value=text)
    if _OWN.match(text):
        raise Invalid(FIELD, "names an image of the platform's own, which this version does not keep", value=text)
    return ImageReference(text=text, name=found["name"], tag=found["tag"], digest=found["digest"])
