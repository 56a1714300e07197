"""On BentoML: one worker, as `bentoml serve` starts it."""

import bentoml
from echo import app


@bentoml.service(workers=1)
@bentoml.asgi_app(app, path="/app")
class Echo:
    """The program."""
