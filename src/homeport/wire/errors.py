"""The control plane's error body (contract §1.6, shape 1)."""

from homeport.wire.body import Reply


class ErrorBody(Reply):
    """`code` is the HTTP status, `error` a short reason constant, `message` what to read. Clients show `message`."""

    code: int
    error: str
    message: str


class VersionError(Reply):
    """The answer to an unknown `Blaxel-Version` (contract §1.3), which has no code."""

    error: str = "invalid_api_version"
    message: str
