"""A proxy in front of Postgres that changes statements: how a build is crippled without a switch.

The product has no way to leave its fence out, and must not get one for tests: the statement that reaches
Postgres is another one instead.
"""

import struct
from collections.abc import Callable

from tests.proxy import Change, Proxy

Rewrite = Callable[[str], str]

#: What a client sends first to ask for TLS; a normal start follows the server's "no".
SSL_REQUEST = 80877103


class RewritingProxy(Proxy):
    def __init__(self, url: str, rewrite: Rewrite) -> None:
        super().__init__(url)
        self._rewrite = rewrite
        #: Statements that were changed, as often as they were prepared.
        self.changed = 0

    def _asked(self) -> Change:
        return _Frames(self).feed

    def rewrite(self, statement: str) -> str:
        changed = self._rewrite(statement)
        self.changed += changed != statement
        return changed


class _Frames:
    """The messages of one connection; a message may come in pieces."""

    def __init__(self, proxy: RewritingProxy) -> None:
        self._proxy = proxy
        self._waiting = b""
        self._is_started = False

    def feed(self, data: bytes) -> bytes:
        """The messages that are whole now."""
        self._waiting += data
        done = b""
        while (message := self._take()) is not None:
            done += message
        return done

    def _take(self) -> bytes | None:
        # A startup message has no letter in front of its length.
        letter = 1 if self._is_started else 0
        if len(self._waiting) < letter + 4:
            return None
        size = letter + struct.unpack_from("!i", self._waiting, letter)[0]
        if len(self._waiting) < size:
            return None
        message, self._waiting = self._waiting[:size], self._waiting[size:]
        if not self._is_started:
            self._is_started = struct.unpack_from("!i", message, 4)[0] != SSL_REQUEST
            return message
        return self._parse(message) if message[:1] == b"P" else message

    def _parse(self, message: bytes) -> bytes:
        """`P`, length, name, statement, types: with the statement rewritten."""
        name, statement, types = message[5:].split(b"\0", 2)
        body = b"\0".join((name, self._proxy.rewrite(statement.decode()).encode(), types))
        return b"P" + struct.pack("!i", len(body) + 4) + body
