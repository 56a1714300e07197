"""On Ray Serve: one replica behind one proxy, as `serve.run` starts it."""

import os
import signal

import ray
from echo import app
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
@serve.ingress(app)
class Echo:
    """The program."""


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
serve.run(Echo.bind())
signal.sigwait({signal.SIGTERM, signal.SIGINT})
serve.shutdown()
ray.shutdown()
