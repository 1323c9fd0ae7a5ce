"""Every refusal and failure as `application/problem+json` (RFC 9457): one function from class to answer.

`code` is stable and for programs, `detail` is a sentence for a human. What is our fault, or the fault of
something we depend on, is told to the log and not to the caller.
"""

from http import HTTPStatus

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.exceptions import HTTPException

from domain.errors import Broken, DeadlineExceeded, FieldError, ReadyCall, Rejected, TooMany, Unavailable

#: What Starlette refuses by itself, in our words.
_BY_STARLETTE = {
    404: ("not_found", "There is nothing at this path."),
    405: (
        "method_not_allowed",
        "This path does not take this method; the Allow header lists those it takes.",
    ),
}
#: Where a ready problem is cut: no text of ours has it.
_ANY_ID = "<request id>"
_AWAY = "Something this service depends on is away; the same request will work once it is back."
_OURS = "Something went wrong on our side; tell us the request_id, and the log says what."


class Problem(Struct, frozen=True, kw_only=True):
    """The body of every answer that is no success."""

    #: The meaning is the status, says RFC 9457; which of its cases says `code`.
    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    #: Each wrong place of the request: `field` (a path such as `items[0].plan`) and `detail`.
    errors: tuple[FieldError, ...] = ()
    request_id: str
    #: A call that would do what the refused one was probably for, ready to be sent.
    instead: ReadyCall | UnsetType = UNSET


class Refusal(Struct, frozen=True):
    """A problem, and the headers that belong to its status."""

    problem: Problem
    headers: tuple[tuple[str, str], ...] = ()


class ReadyProblem(Struct, frozen=True):
    """A problem that is answered often: bytes but for the request's id, which goes between the two parts."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    before_id: bytes
    after_id: bytes

    def encode(self, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """(status, headers, body), as `encode_refusal` makes them."""
        body = self.before_id + request_id.encode() + self.after_id
        return self.status, [*self.headers, (b"content-length", b"%d" % len(body))], body


def describe_error(error: Exception, request_id: str) -> Refusal:
    """What the caller is told about `error`; an error of no class we know is our fault."""
    match error:
        case Rejected():
            return Refusal(_describe_refusal(error, request_id), _refusal_headers(error))
        case Unavailable():
            said = error.detail if isinstance(error, DeadlineExceeded) else _AWAY
            problem = _problem(error.status, error.code, said, request_id)
            return Refusal(problem, (("retry-after", str(error.retry_after_s)),))
        case HTTPException(status_code=status):
            code, detail = _BY_STARLETTE.get(status, ("bad_request", error.detail))
            return Refusal(_problem(status, code, detail, request_id), tuple((error.headers or {}).items()))
        case _:
            return Refusal(_problem(500, Broken.code, _OURS, request_id))


def is_told_to_nobody(error: Exception) -> bool:
    """Whether the answer hides the error, so that only its traceback in the log says what happened."""
    return isinstance(error, Broken) or not isinstance(error, (Rejected, Unavailable, HTTPException))


def encode_refusal(refusal: Refusal) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """(status, headers, body), ready to send."""
    body = msgspec.json.encode(refusal.problem)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in refusal.headers),
    ]
    return refusal.problem.status, headers, body


def make_ready(error: Rejected) -> ReadyProblem:
    """The problem of `error`, to be answered to any request; its headers lack only the length."""
    status, headers, body = encode_refusal(describe_error(error, _ANY_ID))
    before, after = body.split(_ANY_ID.encode())
    kept = tuple(header for header in headers if header[0] != b"content-length")
    return ReadyProblem(status, kept, before, after)


def _describe_refusal(error: Rejected, request_id: str) -> Problem:
    problem = _problem(error.status, error.code, error.detail, request_id, errors=error.errors)
    return problem if error.instead is None else msgspec.structs.replace(problem, instead=error.instead)


def _refusal_headers(error: Rejected) -> tuple[tuple[str, str], ...]:
    if error.status == HTTPStatus.UNAUTHORIZED:
        return (("www-authenticate", "Bearer"),)
    if error.retry_after_s is None:
        return ()
    again = ("retry-after", str(error.retry_after_s))
    if not isinstance(error, TooMany):
        return (again,)
    return (
        again,
        ("ratelimit-policy", f'"{error.name}";q={error.quota};w={error.window_s}'),
        ("ratelimit", f'"{error.name}";r=0;t={error.retry_after_s}'),
    )


def _problem(
    status: int, code: str, detail: str, request_id: str, *, errors: tuple[FieldError, ...] = ()
) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, detail=detail, code=code, errors=errors, request_id=request_id)
