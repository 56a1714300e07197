"""The agent of the streaming benchmark: server-sent events at a fixed distance, each with the moment at which it was
written, by the clock that all processes of a machine share."""

import http.server
import os
import socket
import time

EVENTS = int(os.environ.get("EVENTS", "100"))
DISTANCE_S = 0.005


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        due = time.monotonic()
        for _ in range(EVENTS):
            time.sleep(max(0.0, due - time.monotonic()))
            event = b"data: %d\n\n" % time.monotonic_ns()
            self.connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            due += DISTANCE_S
        self.connection.sendall(b"0\r\n\r\n")

    def log_message(self, *arguments: object) -> None:
        """Nothing is to be told."""


http.server.ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()
