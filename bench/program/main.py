"""The agent that the benchmarks call: one fixed answer, as fast as Python can give it, so that what stands in front of
it is what is measured. Speaks just enough HTTP/1.1 for requests without a body. The answer tells its port."""

import os
import select
import socket

if cores := os.environ.get("BENCH_CORES"):
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
BODY = b'{"port": %s}' % os.environ["PORT"].encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)

listener = socket.create_server((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), backlog=1024)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
poller = select.epoll()
poller.register(listener, select.EPOLLIN)
connections: dict[int, socket.socket] = {}
while True:
    for descriptor, _ in poller.poll():
        if descriptor == listener.fileno():
            accepted, _ = listener.accept()
            connections[accepted.fileno()] = accepted
            poller.register(accepted, select.EPOLLIN)
            continue
        connection = connections[descriptor]
        try:
            received = connection.recv(65536)
            connection.sendall(ANSWER * received.count(b"\r\n\r\n"))
        except OSError:
            received = b""
        if not received:
            poller.unregister(descriptor)
            connections.pop(descriptor).close()
