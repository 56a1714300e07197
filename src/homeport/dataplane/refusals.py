"""What the edge answers itself, while it serves a request (edge process)."""

import json

from aiohttp import web

from homeport.core.clock import Clock
from homeport.dataplane.answers import Answer


class Refused(Exception):
    """The gateway answers this itself."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer

    def response(self, clock: Clock) -> web.Response:
        body, status = json.dumps(self.answer.body(clock.now())), self.answer.status
        return web.Response(text=body, status=status, headers=self.answer.headers(), content_type="application/json")
