"""The typed HTTP client, for the command line and for programs of users: `Homeport(url, key, workspace)`."""

from homeport.client.errors import Unreachable
from homeport.client.http import Homeport

__all__ = ["Homeport", "Unreachable"]
