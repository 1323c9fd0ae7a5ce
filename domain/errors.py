"""Every error Tollhouse raises, and what happens next.

    TollhouseError
    ├── Rejected      the caller is wrong: 4xx at a door, exit 2 in a terminal, never retried
    │   ├── Unauthorized   401
    │   ├── Forbidden      403
    │   ├── Unknown        404
    │   ├── Conflict       409
    │   ├── Expired        410
    │   ├── Invalid        422 (a body or a catalog that parses but says something impossible)
    │   ├── TooLarge, UnsupportedMedia, Misdirected, TooMany   413, 415, 421, 429
    │   └── NoRequest, RequestTimeout, HeadTooLarge   400, 408, 431 (refused before any door saw them)
    ├── Unavailable   a dependency is away: retried with back-off, 503 at a door, never dead
    │   └── Throttled      no slot in the Stripe read budget now
    └── Broken        our bug or impossible data: 500 at a door, eight in a row make a dead target
        └── ObjectMissing  Stripe says the object does not exist (a closed list of answers)

The class decides, once; nobody catches one to decide something else (docs/event-path.md).
"""

from typing import Any, ClassVar

from msgspec import Struct


class TollhouseError(Exception):
    """Something Tollhouse names; `detail` is a sentence for a human, `code` is stable for programs."""

    status: ClassVar[int] = 500
    code: str = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class Rejected(TollhouseError):
    """The caller is wrong; asking again without a change gives the same answer."""

    status = 400
    code = "bad_request"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple["FieldError", ...] = (),
        retry_after_s: int | None = None,
        instead: "ReadyCall | None" = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.errors = errors
        #: The one kind of refusal that passes by itself: so long after it the same call may be sent again.
        self.retry_after_s = retry_after_s
        #: What the caller probably wants; None: nothing is known that would do.
        self.instead = instead


class ReadyCall(Struct, frozen=True, kw_only=True):
    """A call that can be sent as it stands."""

    method: str
    path: str
    body: dict[str, Any]


class FieldError(dict[str, str]):
    """One wrong place in what the caller sent: `field` (a path such as `items[0].plan`) and `detail`."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field=field, detail=detail)


class Unauthorized(Rejected):
    """The request carries no valid API key."""

    status = 401
    code = "unauthorized"


class Forbidden(Rejected):
    """The key is valid but lacks the scope."""

    status = 403
    code = "forbidden"


class Unknown(Rejected):
    """What the caller names does not exist for its key."""

    status = 404
    code = "not_found"


class Conflict(Rejected):
    """The state of the named thing forbids the request."""

    status = 409
    code = "conflict"


class Expired(Rejected):
    """What the caller names was there once, and is deleted for good."""

    status = 410
    code = "expired"


class TooLarge(Rejected):
    """The request body is over the limit of the route."""

    status = 413
    code = "body_too_large"


class UnsupportedMedia(Rejected):
    """The request body is not plain JSON."""

    status = 415
    code = "unsupported_media_type"


class Invalid(Rejected):
    """The request was understood but names something impossible."""

    status = 422
    code = "invalid"


class Misdirected(Rejected):
    """The request names a host that this service does not answer for."""

    status = 421
    code = "unknown_host"


class TooMany(Rejected):
    """The caller asks more often than it may; `retry_after_s` says when to come back.

    `name` of the limit, which lets `quota` requests at once and fills up again in `window_s`.
    """

    status = 429
    code = "rate_limited"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        name: str = "requests",
        quota: int = 1,
        window_s: int = 1,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(detail, code=code, retry_after_s=retry_after_s)
        self.name = name
        self.quota = quota
        self.window_s = window_s


class NoRequest(Rejected):
    """What came over the connection is no HTTP request."""

    code = "malformed_http"


class RequestTimeout(Rejected):
    """A request was begun and did not arrive whole."""

    status = 408
    code = "request_timeout"


class HeadTooLarge(Rejected):
    """The request line and headers are over the limit."""

    status = 431
    code = "head_too_large"


class Unavailable(TollhouseError):
    """A dependency is away; the same request will work once it is back."""

    status = 503
    code = "unavailable"

    def __init__(
        self, detail: str, *, code: str | None = None, retry_after_s: int = 1, alarm: bool = False
    ) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s
        #: True where waiting alone will not help and a human must look (a refused Stripe key).
        self.alarm = alarm


class ReplayedFailure(Unavailable):
    """Stripe keeps a failure of its own (5xx) under an idempotency key for a day: only another one helps."""


class DeadlineExceeded(Unavailable):
    """The whole request took too long; the caller is told `detail`, because it may be the slow one."""

    code = "deadline_exceeded"


class Throttled(Unavailable):
    """The read budget for Stripe has no slot within the time this caller may wait."""

    code = "stripe_budget_exhausted"


class Broken(TollhouseError):
    """Our bug, or data that cannot be: retried a few times, then dead and alarmed."""

    status = 500
    code = "internal_error"


class ObjectMissing(Broken):
    """Stripe says that the object does not exist."""

    code = "object_missing"
