"""What load to make and what a right answer is. Values only; `homeport.load.run` carries them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from homeport.core.errors import Invalid

# The tool's own bounds: one process with one thread, on the machine that it measures.
CONCURRENCY_MAX = 1000  # a file descriptor each; 1024 is what a shell usually allows
REQUESTS_MAX = 100_000_000
RATE_MAX = 20_000.0  # a second; more than one process can send
DURATION_MAX_S = 7 * 24 * 3600.0
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the body of every answer must be; what is None is not looked at. size: bytes. sha256: of the whole body, in
    hexadecimal. numbered: the first number of each line that is not empty counts from 0 or 1 upwards without a gap.
    lines: how many such lines there are."""

    size: int | None = None
    sha256: str | None = None
    numbered: bool = False
    lines: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. It ends after `requests` or `duration_s`, whichever comes first, or when it is stopped.

    rate: begin so many requests a second, however long each takes, and count each one's time from the moment when it
    was due. None: each of the `concurrency` connections sends its next request when the one before has ended.
    new_connections: one for each request, in place of keeping them. timeout_s: the longest silence: while connecting,
    before the answer, between two pieces of it.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    requests: int | None = None
    duration_s: float | None = None
    concurrency: int = 10
    rate: float | None = None
    new_connections: bool = False
    timeout_s: float = TIMEOUT_S
    expect: Expectation = Expectation()

    def __post_init__(self) -> None:
        _within("--concurrency", self.concurrency, 1, CONCURRENCY_MAX)
        _within("--requests", self.requests, 1, REQUESTS_MAX)
        _within("--duration", self.duration_s, 0.01, DURATION_MAX_S)
        _within("--rate", self.rate, 0.001, RATE_MAX)
        _within("--timeout", self.timeout_s, 0.1, DURATION_MAX_S)
        if not self.method.isalpha() or not self.method.isascii():
            raise Invalid("--method", "must be letters, such as POST", value=self.method)
        for name, value in self.headers.items():
            if not _is_token(name):
                raise Invalid("--header", "must be named by letters, digits and dashes", value=name)
            if not value.isascii() or not value.isprintable():  # its text is not repeated: it may be a secret
                raise Invalid("--header", f"{name} must be printable ASCII")

    def request(self) -> bytes:
        """The bytes of the request, the same each time."""
        parts = urlsplit(self.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": "homeport-load", **self.headers}
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = str(len(self.body))
        if self.new_connections:
            sent["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{self.method} {target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + self.body


def _within(option: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise Invalid(option, f"must be from {least:g} to {most:,g}".replace(",", " "), value=str(value))


def _is_token(name: str) -> bool:
    return bool(name) and all(char.isascii() and (char.isalnum() or char in "-_.") for char in name)
