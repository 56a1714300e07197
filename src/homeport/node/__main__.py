"""`python -m homeport.node`: see `homeport.node.main`."""

import sys

from homeport.node.main import run

sys.exit(run())
