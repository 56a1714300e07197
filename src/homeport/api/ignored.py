"""The answer's word about fields that were sent and have no effect: a header of ours, which public clients pass over.

The resource's events say it too; policies have none, and a header also reaches whoever made the request.
"""

import json
from collections.abc import Sequence

from fastapi import Response

from homeport.core.fields import IGNORED_HEADER, Ignored

_HEADER_BYTES = 4096  # proxies take at least as much; what does not fit stands in the events


def tell_ignored(response: Response, ignored: Sequence[Ignored]) -> None:
    """Set the header to a JSON list of `{field, why}`, in ASCII; leave it out where nothing is ignored."""
    told: list[dict[str, str]] = []
    for one in ignored:
        more = [*told, {"field": one.field, "why": one.why}]
        if len(json.dumps(more)) > _HEADER_BYTES:
            break
        told = more
    if told:
        response.headers[IGNORED_HEADER] = json.dumps(told)
