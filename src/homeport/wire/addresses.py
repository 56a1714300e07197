"""Addresses of a workload on the wire: this installation's own."""

from homeport.wire.body import Reply


class WorkloadAddress(Reply):
    """`public`: anybody may call it. `asynchronous`: a call is answered at once and made in the background. `trigger`:
    whose path it is, if it is one's."""

    url: str
    public: bool
    asynchronous: bool = False
    trigger: str | None = None


class AddressList(Reply):
    data: list[WorkloadAddress]
    note: str | None = None
