"""One HTTP connection: uvicorn's, and an end to what uvicorn lets go on for ever.

By itself it waits without limit for the end of a request's head or body, takes a head of any size, and holds
a closed connection until the caller has read the rest. All of it is free for the caller and costs us a
socket. Here whole requests arrive in time or are refused. One look at all connections each second does it,
so that a request pays for reading the clock once.
"""

import secrets
from collections import Counter
from typing import Any, cast

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from domain.errors import HeadTooLarge, NoRequest, Rejected, RequestTimeout
from ingress.problems import describe_error, encode_refusal

#: Request line and headers; ours are a few hundred bytes, and proxies add some hundred more.
HEAD_BYTES = 32 * 1024
MOST_HEADERS = 100
#: The app tells callers of a slow body what is wrong; the connection ends after that, and ends those that the
#: app has answered already.
BODY_GRACE_S = 1.0
#: How long the rest of an answer may wait to be read once the connection is over.
UNREAD_S = 5.0

_TOO_LARGE = (
    f"The request line and headers are larger than {HEAD_BYTES // 1024} KiB, "
    f"or more than {MOST_HEADERS} headers."
)


class Limits(Struct, frozen=True):
    """`arrival_s`: from the first byte of a request to its last."""

    arrival_s: float = 10.0


class Connection(HttpToolsProtocol):
    """A connection that ends. `limits` is the process's; uvicorn makes connections by itself."""

    limits = Limits()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        #: Since when a request has been arriving; None: whole requests only have come so far.
        self._arriving_since: float | None = None
        self._is_in_head = True
        self._head_bytes = 0
        self._closing_since: float | None = None
        self._refusal: Rejected | None = None
        # Who connects and says nothing is as idle as who has asked before.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        if self._head_bytes > HEAD_BYTES:
            self._refuse(HeadTooLarge(_TOO_LARGE))
        elif self._arriving_since is None and self.timeout_keep_alive_task is None and self._is_idle():
            # Empty lines between requests: the parser skips them, and they have ended uvicorn's patience.
            self._arriving_since = self.loop.time()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._arriving_since is None:
            self._arriving_since = self.loop.time()

    def on_headers_complete(self) -> None:
        if len(self.headers) > MOST_HEADERS or (self._head_bytes > HEAD_BYTES and self._is_head_too_large()):
            self._refusal = HeadTooLarge(_TOO_LARGE)
            # The parser stops, and uvicorn refuses the request.
            raise self._refusal
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arriving_since = None
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, replaced by a problem
        """What is no HTTP, as a problem."""
        self._refuse(self._refusal or NoRequest("This is no HTTP/1.1 request that can be understood."))

    def end_if_late(self, now: float) -> str | None:
        """Why the connection was ended, or None. `now` is the loop's time."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since < UNREAD_S:
                return None
            self.transport.abort()
            return "unread"
        if self._arriving_since is None:
            return None
        limit_s = self.limits.arrival_s + (0 if self._is_in_head else BODY_GRACE_S)
        if now - self._arriving_since < limit_s:
            return None
        within = f"{self.limits.arrival_s:g} s"
        self._refuse(
            RequestTimeout(f"The request did not arrive within {within}: send it again, all at once.")
        )
        return "head" if self._is_in_head else "body"

    def _refuse(self, refused: Rejected) -> None:
        """Answer, unless an answer is on its way, and end the connection."""
        if self._is_idle() or (not self._is_in_head and not self.cycle.response_started):
            request_id = secrets.token_hex(16)
            status, headers, body = encode_refusal(describe_error(refused, request_id))
            headers += [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()

    def _is_idle(self) -> bool:
        # uvicorn declares it as if there were always one.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _is_head_too_large(self) -> bool:
        # What came with the head in one piece, such as the body, is no part of it.
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES


def end_late(connections: Any, now: float) -> Counter[str]:
    """End the connections that are late; how many for which reason."""
    ended = (connection.end_if_late(now) for connection in list(connections))
    return Counter(reason for reason in ended if reason is not None)
