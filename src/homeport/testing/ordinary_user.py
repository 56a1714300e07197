"""Runs a Python command as an ordinary user although the tests run as root:
`python -m homeport.testing.ordinary_user UID PLACE ARGUMENTS…`.

The interpreter may lie where that user cannot go, so it is shown at PLACE (an empty directory) in a mount namespace of
this command's own. Used by `homeport.testing.nodes`; not by the product.
"""

import os
import sys

from homeport.node import stage


def main(words: list[str]) -> None:
    """Never returns."""
    uid, place = int(words[0]), words[1]
    stage.private_mounts()
    stage.bind(sys.base_prefix, place)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    python = f"{place}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    os.execve(python, [python, *words[2:]], dict(os.environ))


if __name__ == "__main__":
    main(sys.argv[1:])
