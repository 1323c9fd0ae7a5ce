"""Names of places in the world: redirect origins and time zones."""

from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def origin_refusal(origin: str) -> str | None:
    """What keeps this text from being an exact origin to which customers may be sent back; None: nothing."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in {"http", "https"} or not host:
        return "must be scheme://host[:port] with https, or http for localhost"
    if parts.scheme == "http" and host not in LOCAL_HOSTS:
        return "must use https: http is for localhost only"
    shown_host = f"[{host}]" if ":" in host else host
    exact = f"{parts.scheme}://{shown_host}" + (f":{port}" if port is not None else "")
    if not origin.isascii() or any(sign in host for sign in "*% ") or origin != exact:
        return f'must be exactly an origin, without path or user, in small letters: "{exact}"'
    return None


def is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        # Unknown zones are KeyErrors; names that are paths, folders or too long are the other two.
        return False
    return True
