"""The control plane's error body (public contract, shape 1)."""

from pydantic import ConfigDict

from homeport.wire.body import Reply


class Error(Reply):
    """`code` is the HTTP status, `error` a short reason constant, `message` what to read. Clients show `message`. Only
    the answer to an unknown `Blaxel-Version` has no code (public contract)."""

    code: int | None = None
    error: str
    message: str


class TokenError(Reply):
    """The token endpoint's: `error` is one of OAuth's constants, and `error_description` OAuth's name for `message`."""

    model_config = ConfigDict(alias_generator=None)

    code: int
    error: str
    error_description: str
    message: str
