"""What of a request's or an answer's head goes on to the next hop. Used by everything in the edge that forwards."""

from multidict import CIMultiDict, CIMultiDictProxy

from homeport.dataplane import headers

_DROPPED = frozenset(
    {
        # RFC 9110 §7.6.1: they concern one connection only.
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
        *headers.OWN,
    }
)


def end_to_end(found: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers without those of one connection and without our own."""
    named = {name.strip().lower() for value in found.getall("Connection", []) for name in value.split(",")}
    dropped = _DROPPED | named
    return CIMultiDict((name, value) for name, value in found.items() if name.lower() not in dropped)
