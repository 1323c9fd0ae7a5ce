"""The little HTTP the local deployment speaks as a client: one request, one answer, nothing installed."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

#: Everything is on loopback: an answer that takes longer is a failure worth showing.
TIMEOUT_S = 15.0


class NoAnswer(Exception):
    """The server could not be reached, or closed without an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body; raises NoAnswer when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NoAnswer(f"expected JSON, got {self.body[:200]!r}") from error


class Connection:
    """One kept-alive connection to one server; use it as a context manager."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s
        )
        self._name = f"{parts.scheme}://{parts.netloc}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        send_json: Any = None,
        send_form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send and read the whole answer; redirects are not followed. Raises NoAnswer."""
        sent = dict(headers or {})
        body = b""
        if send_json is not None:
            body, sent["Content-Type"] = json.dumps(send_json).encode(), "application/json"
        elif send_form is not None:
            body, sent["Content-Type"] = urlencode(send_form).encode(), "application/x-www-form-urlencoded"
        try:
            self._connection.request(method, path, body=body or None, headers=sent)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoAnswer(f"{method} {self._name}{path}: {str(error) or type(error).__name__}") from error
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)


def request(method: str, url: str, *, timeout_s: float = TIMEOUT_S, **sent: Any) -> Answer:
    """One request on a connection of its own; arguments as `Connection.request`."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    with Connection(url, timeout_s) as connection:
        return connection.request(method, path, **sent)


def answers_200(url: str) -> bool:
    """True when a GET is answered with 200 within a second."""
    try:
        return request("GET", url, timeout_s=1.0).status == http.client.OK
    except NoAnswer:
        return False
