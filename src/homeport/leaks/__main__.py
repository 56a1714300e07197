"""The program behind `homeport gc`: `python -m homeport.leaks --data DIR [--dry-run] [--wait SECONDS]`.

Prints one JSON object: `findings`, each with `stays` where it could not be removed, and `pending`. A program of its
own, since it reads the store, which the command line does not load.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from homeport.core.errors import Denied, HomeportError
from homeport.leaks.look import WAIT_S, look
from homeport.leaks.removal import collect
from homeport.settings import DataDir


def main() -> int:
    """0, or 1 with the reason on standard error, or 3 where the directory is another user's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--wait", type=float, default=WAIT_S)
    arguments = parser.parse_args()
    data = DataDir(arguments.data.absolute())
    try:
        print(json.dumps(_run(data, arguments.wait, dry_run=arguments.dry_run)))
    except HomeportError as error:
        print(f"{error.message}\n{error.hint}".strip(), file=sys.stderr)
        return 3 if isinstance(error, Denied) else 1
    return 0


def _run(data: DataDir, wait_s: float, *, dry_run: bool) -> dict[str, object]:
    if data.root.exists() and not os.access(data.root, os.R_OK | os.W_OK):
        raise Denied(f"{data.root} belongs to another user.", hint="Run this as the user that runs Homeport.")
    found = look(data, wait_s)
    findings = [finding for finding in found if not finding.pending]
    stays = {} if dry_run else collect(data, findings)
    shown = [{**finding.to_json(), "stays": stays.get(finding.key)} for finding in findings]
    return {"findings": shown, "pending": [finding.to_json() for finding in found if finding.pending]}


if __name__ == "__main__":
    sys.exit(main())
