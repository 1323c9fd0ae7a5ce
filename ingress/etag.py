"""Whether a caller holds an answer already: `If-None-Match` of RFC 9110."""

from starlette.types import Scope


def is_held(scope: Scope, etag: bytes) -> bool:
    """Whether one of the request's tags is `etag` (with its quotes), compared weakly; `*` is any."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            tags = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            if etag in tags or tags == [b"*"]:
                return True
    return False
