"""A small agent: it answers in JSON, streams words, and talks over a WebSocket.

`blaxel.toml` names no start command: `app` below is an ASGI application, so uvicorn serves it on $HOST:$PORT.
"""

import asyncio
import json
import os
import platform
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

GREETING = os.environ.get("GREETING", "Hello")
NAME = os.environ.get("BL_NAME", "hello-agent")
PAUSE_S = 0.1
WORDS_MOST = 1000

app = FastAPI(title=NAME)


class Question(BaseModel):
    """What callers send: `{"inputs": ...}`."""

    inputs: Any = None


@app.post("/")
async def answer(question: Question) -> dict[str, Any]:
    """Greet, and say where this runs."""
    return {
        "answer": f"{GREETING} from {NAME}!",
        "inputs": question.inputs,
        "name": NAME,
        "revision": os.environ.get("HOMEPORT_REVISION", "unknown"),
        "host": {"hostname": platform.node(), "python": platform.python_version(), "pid": os.getpid()},
    }


@app.get("/")
async def describe() -> dict[str, str]:
    return {"name": NAME, "try": 'POST {"inputs": "..."} here, GET /stream?text=..., or a WebSocket at /ws'}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/stream")
async def stream(text: str = "one two three four five") -> StreamingResponse:
    """Count the words of `text` as server-sent events, one at a time."""
    return StreamingResponse(_count(text.split()[:WORDS_MOST]), media_type="text/event-stream")


async def _count(words: list[str]) -> AsyncIterator[str]:
    for number, word in enumerate(words, start=1):
        yield f"data: {json.dumps({'number': number, 'word': word})}\n\n"
        await asyncio.sleep(PAUSE_S)
    yield f"event: done\ndata: {json.dumps({'words': len(words)})}\n\n"


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    """Send back what comes in, until the caller leaves."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(f"{GREETING}: {await socket.receive_text()}")
    except WebSocketDisconnect:
        pass
