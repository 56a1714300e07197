"""A collector of traces (OTLP) that keeps what it is sent: by gRPC and by HTTP, each at a port of its own.

For tests and measurements of what the gateway exports.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

from homeport.testing.system import free_port

_BOUND_S = 30.0
_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_EXPORT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as it came. Ids in hexadecimal; `service` is its resource's name."""

    service: str
    trace: str
    id: str
    parent: str
    name: str
    attributes: dict[str, str]


@contextlib.contextmanager
def running_collector() -> Iterator["SpanCollector"]:
    """One in a thread of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="collector")
    thread.start()
    collector = SpanCollector()
    try:
        asyncio.run_coroutine_threadsafe(collector.start(), loop).result(_BOUND_S)
        yield collector
    finally:
        asyncio.run_coroutine_threadsafe(collector.stop(), loop).result(_BOUND_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_BOUND_S)
        loop.close()


@dataclass
class SpanCollector:
    """`spans` in the order in which they came; `credentials`: what each export brought as `authorization`."""

    spans: list[Span] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    grpc_port: int = 0
    http_port: int = 0

    async def start(self) -> None:
        self._server: Any = grpc.aio.server()
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=service.ExportTraceServiceRequest.FromString,
            response_serializer=service.ExportTraceServiceResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(_SERVICE, {"Export": export})
        self._server.add_generic_rpc_handlers((handlers,))
        self.grpc_port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        app = web.Application(client_max_size=_EXPORT_BYTES)
        app.router.add_post("/v1/traces", self._post)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        self.http_port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", self.http_port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._server.stop(0)

    async def _export(self, request: Any, context: Any) -> Any:
        sent = {key: value for key, value in context.invocation_metadata()}
        self._keep(request, sent.get("authorization", ""))
        return service.ExportTraceServiceResponse()

    async def _post(self, request: web.Request) -> web.Response:
        told = service.ExportTraceServiceRequest.FromString(await request.read())
        self._keep(told, request.headers.get("Authorization", ""))
        return web.Response(
            body=service.ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    def _keep(self, request: Any, credential: str) -> None:
        self.credentials.append(credential)
        for resource in request.resource_spans:
            names = _attributes(resource.resource.attributes)
            # The protocol's `scope_spans` (field 2), by the older name that these messages have for it.
            for scope in resource.instrumentation_library_spans:
                self.spans += [_span(one, names.get("service.name", "")) for one in scope.spans]


def _span(span: Any, service_name: str) -> Span:
    return Span(
        service=service_name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
