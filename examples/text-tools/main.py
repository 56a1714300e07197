"""A small MCP server: tools that read texts. Clients find it at /mcp below its address, by streamable HTTP.

`blaxel.toml` names no start command: `app` below is an ASGI application, so uvicorn serves it on $HOST:$PORT.
"""

import asyncio

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings

PAUSE_S = 0.1
LINES_MOST = 1000

server = MCPServer("text-tools", instructions="Counts words and reads texts aloud.")


@server.tool()
def count_words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())


@server.tool()
def longest_word(text: str) -> str:
    """The longest word of a text; of several as long, the first."""
    words = text.split()
    if not words:
        raise ToolError("The text has no words.")
    return max(words, key=len)


@server.tool()
async def read_aloud(text: str, context: Context) -> str:
    """Go through a text line by line, and say after each how far it is."""
    lines = text.splitlines()[:LINES_MOST]
    for number, line in enumerate(lines, start=1):
        await context.report_progress(number, len(lines), line)
        await asyncio.sleep(PAUSE_S)
    return f"{len(lines)} lines read"


# Only the gateway reaches this program, and it has checked who calls: any name that leads to it is a good one.
app = server.streamable_http_app(transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False))
