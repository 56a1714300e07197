"""A job: each task counts the words of one text. Written with the public SDK, which hands a task its arguments.

A task with `"fail_once": true` fails at its first attempt, to show that it is tried again.
"""

import os
import re
import sys
from collections import Counter

from blaxel.core.jobs import bl_start_job


def count(title: str, text: str, fail_once: bool = False) -> None:
    """Print how many words `text` has and which is the most frequent."""
    task, tasks = int(os.environ["TASK_INDEX"]) + 1, os.environ["TASK_COUNT"]
    attempt = int(os.environ["TASK_ATTEMPT"]) + 1  # counts from 0, as in Cloud Run
    print(f"task {task} of {tasks}, attempt {attempt}: {title}", flush=True)
    if fail_once and attempt == 1:
        print("this attempt fails on purpose; the next one will not", file=sys.stderr, flush=True)
        raise RuntimeError("failed on purpose")
    words = re.findall(r"[\w']+", text.lower())
    frequent, times = Counter(words).most_common(1)[0] if words else ("", 0)
    print(f"{len(words)} words; most frequent: {frequent!r}, {times} times", flush=True)


if __name__ == "__main__":
    bl_start_job.start(count)
