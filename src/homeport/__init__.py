"""Homeport: an open, self-hosted cloud for AI agents.

The packages are named after the domain's nouns and import one way only; `docs/architecture.md` draws them.
"""

__version__ = "0.1.0"
