"""Where a customer may be sent back to: exactly the origins an app's catalog lists.

A URL is compared as text and never parsed: whatever a parser and a browser disagree about (userinfo,
backslashes, control characters, other scripts, missing slashes) has no place in the comparison.
"""

import re
from collections.abc import Collection
from typing import Literal

#: What Stripe puts into a success_url by itself; the only braces a URL of ours may have.
SESSION_PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
#: Longer ones are cut by browsers and proxies.
MAX_LENGTH = 2048

_is_plain = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+").fullmatch
_is_local = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?").fullmatch


def find_redirect_fault(url: str, origins: Collection[str], mode: Literal["live", "test"]) -> str | None:
    """What is wrong with sending a customer to `url`, and what would be right; None: nothing.

    `origins` are scheme://host[:port] as the catalog lists them; local ones count in test mode only.
    """
    allowed = usable_origins(origins, mode)
    if len(url) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if not _is_plain(url.replace(SESSION_PLACEHOLDER, "")):
        return "not a plain URL: percent-encode everything but letters, digits and the marks of RFC 3986"
    for origin in allowed:
        rest = url.removeprefix(origin)
        if len(rest) < len(url) and (not rest or rest[0] in "/?#"):
            return None
    listed = ", ".join(allowed) or "none"
    return f"not at an origin the catalog allows for this app (redirect_origins: {listed})"


def usable_origins(origins: Collection[str], mode: Literal["live", "test"]) -> list[str]:
    """Those that count in this mode."""
    return [origin for origin in origins if mode == "test" or not _is_local(origin)]
