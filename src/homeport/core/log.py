"""Logging of the long-lived processes: one line a record on standard error, which `up` keeps in a file."""

import logging
import sys


def configure(process: str, level: str = "INFO") -> None:
    """Send every record to standard error with the time, the level and the process's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "alembic", "aiohttp.access"):
        logging.getLogger(noisy).setLevel("WARNING")
