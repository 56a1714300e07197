"""Bodies about the keys of the installation, under `/v0/homeport/` (outside the contract). A key
itself neither goes in nor comes out."""

from homeport.wire.body import Body, Reply


class SigningKeyOut(Reply):
    """`needs`: why one stays that signs no more, in words."""

    id: str
    created_at: str | None = None
    signs: bool
    needs: list[str]


class SealingRotationOut(Reply):
    """The key that seals now, those that stay until the next start, and how many rows are sealed anew."""

    id: str
    older: list[str]
    rows: int


class RotationIn(Body):
    """`only`: the older keys are void at once, with all that they signed."""

    only: bool = False
