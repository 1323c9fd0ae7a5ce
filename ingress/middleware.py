"""What every request passes through, in one layer of pure ASGI: each further layer costs a reader 2 µs.

Outermost first: a request id, then the access log, then problems, then the deadline, then the body limit.
The id comes first because everything after it names it; problems are made inside the log, so that the line
says the status the caller got; the deadline is inside both, because running out of time is a problem too.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import DeadlineExceeded, TooLarge, Unavailable
from domain.telemetry import get_logger
from ingress.border import Border
from ingress.limits import rate_headers
from ingress.measured import observe, route_of
from ingress.problems import describe_error, encode_refusal, is_told_to_nobody
from ingress.sparing import Sparing

if TYPE_CHECKING:
    from ingress.lifespan import Running

log = get_logger()

#: A request that takes longer is worth less than the connection it holds.
DEADLINE_S = 10.0
#: Bodies of our own API are a few hundred bytes; Stripe's events are larger, `webhook` says so.
API_BODY_BYTES, WEBHOOK_BODY_BYTES = 16 * 1024, 256 * 1024
#: Probes come every second from every side and say nothing a log needs.
UNLOGGED = frozenset({"/health", "/live", "/ready", "/livez", "/readyz"})
#: What nginx writes for a caller that left before its answer.
CLIENT_CLOSED = 499
TOO_MANY = 429

_NOT_KEPT, _VARIES = (b"cache-control", b"no-store"), (b"vary", b"Authorization")

_is_request_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch


class Edge:
    """Wraps the routes of one process."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes: int = API_BODY_BYTES,
        larger: Mapping[str, int] = MappingProxyType({}),
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`larger`: paths that take larger bodies than `body_bytes`, each with its limit."""
        self._app = app
        self._body_bytes = body_bytes
        self._larger = larger
        self._deadline_s = deadline_s
        self._sparing = Sparing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["tollhouse.request_id"] = request_id
        # Starlette's routes raise their 404 and 405 only inside an app; otherwise they answer in plain text.
        scope["app"] = self
        body_bytes = self._larger.get(scope["path"], self._body_bytes)
        exchange = _Exchange(self._app, scope, receive, send, request_id, body_bytes)
        began = time.perf_counter()
        if await exchange.is_refused_at_once(self._sparing, began):
            return
        tokens = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await exchange.run(self._deadline_s)
        finally:
            took_s = time.perf_counter() - began
            observe(scope, exchange.status, took_s)
            if scope["path"] not in UNLOGGED:
                exchange.write_log_line(took_s, self._sparing)
            structlog.contextvars.reset_contextvars(**tokens)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, request_id: str, body_bytes: int
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._body_left = body_bytes
        self._body_bytes = body_bytes
        self._has_whole_body = False
        running: Running | None = scope.get("state", {}).get("running")
        self._running = running
        #: None: there is nothing to look at.
        self._border = running.border if running is not None and running.border.is_watched else None
        #: 0 until the answer has begun.
        self.status = 0

    async def run(self, deadline_s: float) -> None:
        deadline = asyncio.timeout(deadline_s)
        try:
            try:
                async with deadline:
                    self._refuse_declared_body()
                    if self._border is None or not await self._is_answered_at(self._border):
                        await self._app(self._scope, self._receive_bounded, self._send_named)
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise self._out_of_time(deadline_s) from error
        except ClientDisconnect:
            self.status = CLIENT_CLOSED
        except Exception as error:  # noqa: BLE001 - the outermost loop of a request: nothing else would answer it
            await self._answer_error(error)

    async def is_refused_at_once(self, sparing: Sparing, began: float) -> bool:
        """Refuse a request of a key that was told to wait, before anything is set up for it."""
        if self._running is None or (ready := self._running.hasty.find_refusal(self._scope)) is None:
            return False
        await self._running.hasty.hold()
        await self._send_problem(*ready.encode(self._request_id))
        took_s = time.perf_counter() - began
        observe(self._scope, self.status, took_s)
        self.write_log_line(took_s, sparing)
        return True

    def write_log_line(self, took_s: float, sparing: Sparing) -> None:
        key_id: str | None = self._scope.get("tollhouse.key_id")
        more = {}
        if self.status == TOO_MANY:
            unlogged = sparing.find_unlogged(key_id or "")
            if unlogged is None:
                return
            more = {"unlogged": unlogged}
        log.info(
            "request",
            request_id=self._request_id,
            method=self._scope["method"],
            route=route_of(self._scope),
            status=self.status,
            duration_ms=round(took_s * 1000, 2),
            key_id=key_id,
            **more,
        )

    async def _is_answered_at(self, border: Border) -> bool:
        """Let the request in, or answer the question of a browser whether it may send one."""
        if self._scope["path"] not in UNLOGGED:
            border.admit(self._scope)
        headers = border.answer_preflight(self._scope)
        if headers is None:
            return False
        await self._send_named({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send_named({"type": "http.response.body", "body": b""})
        return True

    async def _answer_error(self, error: Exception) -> None:
        if is_told_to_nobody(error):
            log.error("request_failed", exc_info=error)
        elif isinstance(error, Unavailable):
            log.warning("request_unavailable", error=error.detail)
        if self.status:
            # Half an answer is on its way: only breaking the connection tells the caller that it is half.
            raise error
        await self._send_problem(*encode_refusal(describe_error(error, self._request_id)))

    async def _send_problem(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        await self._send_named({"type": "http.response.start", "status": status, "headers": headers})
        is_head = self._scope["method"] == "HEAD"
        await self._send_named({"type": "http.response.body", "body": b"" if is_head else body})

    def _out_of_time(self, deadline_s: float) -> DeadlineExceeded:
        if self._has_whole_body or self._scope["method"] in {"GET", "HEAD"}:
            return DeadlineExceeded(
                f"The answer was not ready within {deadline_s:g} s: something this service waits for is "
                "slow; the same request works once it is quick again."
            )
        return DeadlineExceeded(
            f"The body did not arrive within {deadline_s:g} s: send it again, all of it at once."
        )

    def _refuse_declared_body(self) -> None:
        for name, value in self._scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._body_bytes:
                raise _too_large(self._body_bytes)

    async def _receive_bounded(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._has_whole_body = not message.get("more_body", False)
            self._body_left -= len(message.get("body", b""))
            if self._body_left < 0:
                raise _too_large(self._body_bytes)
        return message

    async def _send_named(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._complete_headers(message["headers"])
        await self._send(message)

    def _complete_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """What every answer says. An answer that says nothing of caches must not be kept by any."""
        is_kept = is_varied = False
        for name, _ in headers:
            is_kept = is_kept or name == b"cache-control"
            is_varied = is_varied or name == b"vary"
        if not is_kept:
            headers.append(_NOT_KEPT)
        if not is_varied:
            headers.append(_VARIES)
        if "tollhouse.rate" in self._scope:
            headers.extend(rate_headers(self._scope))
        if self._border is not None:
            headers.extend(self._border.cors_headers(self._scope))
        headers.append((b"x-request-id", self._request_id.encode()))
        if self._running is not None and self._running.is_draining:
            # A caller that keeps its connection would lose its next request to our end.
            headers.append((b"connection", b"close"))


def _too_large(body_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {body_bytes // 1024} KiB.")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _is_request_id(value):
            return str(value, "ascii")
    return secrets.token_hex(16)
