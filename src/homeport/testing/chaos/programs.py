"""The programs that run while faults happen, and what a right answer of theirs is."""

import json
from typing import Any

LINES = 100  # of a numbered stream
LINE_PAUSE_S = 0.02

# Answers with its version and its process, streams numbered lines, and writes a line for each request.
_AGENT = """
import http.server, json, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        print(self.path, flush=True)
        if self.path.startswith("/numbers"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(LINES):
                line = b"%d\\n" % number
                self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(line), line))
                time.sleep(PAUSE_S)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        body = json.dumps({"version": VERSION, "pid": os.getpid(), "started": STARTED}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

STARTED = time.monotonic()
http.server.ThreadingHTTPServer.request_queue_size = 256
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""

# Says which attempt of which task it is, does what its arguments say, and reads them however long nobody answers.
_TASK = """
import http.client, json, os, sys, time, urllib.error, urllib.request

index, attempt = int(os.environ["TASK_INDEX"]), int(os.environ["TASK_ATTEMPT"])
print(json.dumps({"began": [index, attempt]}), flush=True)
while True:
    try:
        with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"], timeout=20) as answer:
            task = json.load(answer)["tasks"][int(os.environ[os.environ["BL_TASK_KEY"]])]
        break
    except urllib.error.HTTPError as error:
        if error.code < 500:
            print(json.dumps({"refused": [error.code, error.read().decode()]}), flush=True)
            sys.exit(97)
    except (OSError, http.client.HTTPException, ValueError):
        pass  # nobody answers, or the answer was cut
    time.sleep(0.2)
time.sleep(task["sleep"])
if attempt < task["failures"]:
    sys.exit(3)
print(json.dumps({"done": [index, attempt]}), flush=True)
"""

MAX_RETRIES = 2
JOB_SPEC: dict[str, Any] = {
    "runtime": {"memory": 128, "maxRetries": MAX_RETRIES, "maxConcurrentTasks": 4, "timeout": 90}
}
LATE_SPEC: dict[str, Any] = {"runtime": {"memory": 128, "maxRetries": 0, "maxConcurrentTasks": 2, "timeout": 2}}


def agent(version: int) -> dict[str, str]:
    constants = f"VERSION, LINES, PAUSE_S = {version}, {LINES}, {LINE_PAUSE_S}\n"
    return {"main.py": constants + _AGENT}


def task() -> dict[str, str]:
    return {"main.py": _TASK}


def printed(text: str) -> dict[str, Any]:
    """What a task said in one line; nothing for what is none of its lines."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
