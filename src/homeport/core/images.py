"""References to images as people write them, `[registry/]name[:tag][@sha256:digest]`. Looks nothing up."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.ids import WORKLOADS, Kind
from homeport.core.logins import HUB, registry_host
from homeport.core.spec import read_object, read_text

FIELD = "spec.runtime.image"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"  # no dots alone: a name becomes part of a path of the engine's
_TAG = r"\w[\w.-]{0,127}"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*)"
    rf"(?::(?P<tag>{_TAG}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)
_LENGTH = 512
_NAME_LENGTH = 255  # of the name with its registry: no engine takes a longer one
# The contract's own images, such as `agent/name:latest`. Nobody's on the public hub shall be taken for one.
_OWN = re.compile(r"(?P<kind>agent|function|job|sandbox|application|blaxel)(e?s)?/(?P<name>[^:@]*)(?::(?P<tag>[^@]*))?")
LATEST = "latest"  # the tag that each build moves
_TAG_DIGITS = 12  # of a digest: what the contract's own tags have
BUILT_HERE = "homeport.internal"  # what engines call the registry of images that were built here; none is called so


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
        return self.digest is None and self.tag in (None, LATEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnImage:
    """An image that was built here, in its workspace: for a workload of this kind and name, which need not exist."""

    kind: Kind
    name: str
    tag: str

    @property
    def repository(self) -> str:
        """The name of the image without the tag: `agent/hello`."""
        return f"{self.kind}/{self.name}"

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


def tag_of(digest: str) -> str:
    """The tag under which a bundle with this digest is found for ever; `latest` moves."""
    return digest[:_TAG_DIGITS]


def read_own_image(spec: Mapping[str, Any]) -> OwnImage | None:
    """The image of the platform's own that a specification names, `KIND/NAME[:TAG]`; None for none, and for one of a
    registry. Raises `Invalid`."""
    text = read_text(read_object(spec, "runtime", "spec.runtime"), "image", FIELD)
    found = _OWN.match(text or "")
    if not text or found is None:
        return None
    if found["kind"] not in WORKLOADS:
        raise Invalid(FIELD, f"names an image of a kind that this version does not serve ({found['kind']})", value=text)
    tag = found["tag"] if found["tag"] is not None else LATEST
    if len(text) > _LENGTH or found.end() != len(text) or not found["name"] or not re.fullmatch(_TAG, tag, re.ASCII):
        raise Invalid(FIELD, "must be KIND/NAME[:TAG] to name an image that was built here", value=text)
    return OwnImage(kind=Kind(found["kind"]), name=found["name"], tag=tag)


def read_image(spec: Mapping[str, Any]) -> ImageReference | None:
    """The image of a registry or an engine that a specification names; None for none, which empty is, too, and for one
    that was built here. Raises `Invalid`."""
    text = read_text(read_object(spec, "runtime", "spec.runtime"), "image", FIELD)
    if not text or read_own_image(spec) is not None:
        return None
    found = parse_reference(text)
    if found is None:
        rule = "must be [registry/]name[:tag][@sha256:digest], the name in lower case"
        raise Invalid(FIELD, f"{rule} and of {_NAME_LENGTH} characters at most, the tag of 128", value=text)
    if found.registry.partition(":")[0] == BUILT_HERE:  # where those of every workspace are
        raise Invalid(FIELD, "must be KIND/NAME[:TAG] to name an image that was built here", value=text)
    return found


def parse_reference(text: str) -> ImageReference | None:
    """None for what is no image's name."""
    found = _REFERENCE.fullmatch(text) if len(text) <= _LENGTH else None
    if found is None or len(found["name"]) > _NAME_LENGTH:
        return None
    return ImageReference(text=text, name=found["name"], tag=found["tag"], digest=found["digest"])


def names_image(spec: Mapping[str, Any]) -> bool:
    """Whether a specification names an image of whatever kind. Raises `Invalid`."""
    return read_own_image(spec) is not None or read_image(spec) is not None
