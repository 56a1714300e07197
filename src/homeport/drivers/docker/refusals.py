"""Why an image cannot be pulled, from the words of engines and registries, with the next step. Pure.

Engines hand on what the registry or the network said, each in its own way; the kinds are told apart by the words that
Docker, containerd and Podman have in common, and their own words stay in the message.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from homeport.core.errors import Invalid, Rejected
from homeport.core.images import ImageReference, parse_reference
from homeport.core.logins import Login, Logins

_SAID_CHARACTERS = 400


class ImageRefused(Rejected):
    """The image cannot be had, or cannot run there."""

    reason = "ImageRefused"


class ImageGone(Invalid):
    """The engine has the image of a unit no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pull:
    """What was tried."""

    registry: str
    login: Login | None

    @property
    def tried(self) -> str:
        return f"with the login from {self.login.source}" if self.login else "without a login"

    @property
    def give(self) -> str:
        return (
            "Give one with the order (runtime.dockerConfig; `homeport deploy --docker-config FILE`), or to the "
            f"workspace: `homeport registry login {self.registry} -u USER`."
        )


def _limited(pull: _Pull) -> tuple[str, str]:
    hint = "Deploy again later." if pull.login else f"Deploy again later, or with a login. {pull.give}"
    return f"{pull.registry} limits how often it is pulled from; it was asked {pull.tried}", hint


def _login(pull: _Pull) -> tuple[str, str]:
    if pull.login is None:
        return f"{pull.registry} asks for a login, or has no such image; none was given", pull.give
    return f"{pull.registry} refuses the login from {pull.login.source}, or lets it not pull this image", pull.give


def _missing(pull: _Pull) -> tuple[str, str]:
    return f"{pull.registry} has no such image or tag; it was asked {pull.tried}", "Check its name and tag."


def _unknown(pull: _Pull) -> tuple[str, str]:
    return f"the engine's machine knows no registry {pull.registry}", "Check the name, and the machine's DNS."


def _untrusted(pull: _Pull) -> tuple[str, str]:
    hint = (
        f"Put its authority into /etc/docker/certs.d/{pull.registry}/ca.crt on the engine's machine, or name it in "
        "insecure-registries of the engine's daemon.json."
    )
    return f"the engine does not trust the certificate of {pull.registry}, or it has none", hint


def _silent(pull: _Pull) -> tuple[str, str]:
    return (
        f"{pull.registry} does not answer the engine",
        "Check that the engine's machine reaches it, and deploy again.",
    )


def _broken(pull: _Pull) -> tuple[str, str]:
    return f"{pull.registry} fails; it was asked {pull.tried}", "Deploy again later."


_Kind = Callable[[_Pull], tuple[str, str]]
_KINDS: tuple[tuple[str, _Kind], ...] = (
    (r"toomanyrequests|too many requests|rate limit|\b429\b", _limited),
    (r"unauthori[sz]ed|no basic auth|authentication required|denied|forbidden|invalid username|\b40[13]\b", _login),
    (r"no such host|server misbehaving|name resolution|name or service not known", _unknown),
    (r"manifest unknown|name unknown|not found|does not exist|\b404\b", _missing),
    (r"x509|certificate|http response to https client", _untrusted),
    (
        r"connection refused|connection reset|time-?out|timed out|unreachable|no route|deadline exceeded|\beof\b",
        _silent,
    ),
    (r"\b50[0-4]\b|unavailable|bad gateway", _broken),
)


def refusal_of(reference: ImageReference, login: Login | None, said: str) -> ImageRefused:
    """What the caller is told when the engine `said` this about a pull with `login`."""
    pull = _Pull(registry=reference.registry, login=login)
    words = said if len(said) <= _SAID_CHARACTERS else f"{said[: _SAID_CHARACTERS - 1]}…"
    known = _kind(reference, said)
    if known is None:
        return ImageRefused(f"The image {reference.text} cannot be pulled {pull.tried}. The engine says: {words}.")
    why, hint = known(pull)
    return ImageRefused(f"The image {reference.text} cannot be pulled: {why}. The engine says: {words}.", hint=hint)


def base_refusal(instruction: str, logins: Logins, said: str) -> ImageRefused | None:
    """The same for the base image of a Dockerfile, where the `instruction` that failed names one and what the engine
    `said` is of a known kind."""
    word, *more = instruction.split() or [""]
    names = [name for name in more if not name.startswith("--")]
    reference = parse_reference(names[0]) if word.upper() == "FROM" and names else None
    if reference is None or _kind(reference, said) is None:
        return None
    return refusal_of(reference, logins.of(reference.registry), said)


def _kind(reference: ImageReference, said: str) -> _Kind | None:
    spoken = said.replace(reference.name, "").lower()  # a name may hold any of the words
    return next((kind for pattern, kind in _KINDS if re.search(pattern, spoken)), None)
