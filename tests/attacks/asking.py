"""Requests to an app in this process, byte for byte as an attacker wants them."""

from typing import Any

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message

Headers = list[tuple[bytes, bytes]]


class Said(Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(
    app: ASGIApp,
    state: dict[str, Any],
    method: str,
    path: str,
    headers: Headers,
    body: bytes = b"",
    *,
    query: bytes = b"",
    chunk: int = 1 << 20,
) -> Said:
    """One request; its body comes in pieces of `chunk` bytes."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "server": ("door", 80),
        "root_path": "",
        "state": state,
    }
    pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]
    sent: list[Message] = []

    async def receive() -> Message:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    whole = b"".join(message.get("body", b"") for message in rest)
    return Said(status=start["status"], headers=dict(start["headers"]), body=whole)
