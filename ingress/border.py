"""What a request says about where it comes from and where it goes to, and what of that is believed.

Names of hosts (`TOLLHOUSE_ALLOWED_HOSTS`), load balancers (`TOLLHOUSE_TRUSTED_PROXIES`), pages of other
origins (`TOLLHOUSE_CORS_ORIGINS`). Where none of the three is set nothing is looked at, for one `if`.
"""

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import Scope

from domain.errors import Misdirected, Rejected
from domain.settings import Settings

#: What a page may send beside what every page may, and what its script may read of an answer.
_ALLOWED = b"authorization, content-type, idempotency-key, if-none-match, tollhouse-actor, x-request-id"
_EXPOSED = b"etag, idempotent-replayed, ratelimit, ratelimit-policy, retry-after, x-request-id"
#: Seconds for which a browser may keep the answer to a preflight: the shortest of the browsers' own limits.
_KEPT_S = b"600"
#: IPv6 is handed out in networks of this size: one caller has all its addresses.
_IPV6_PREFIX = 64

Headers = list[tuple[bytes, bytes]]


class Border:
    """One per process."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = frozenset(settings.allowed_hosts)
        self._proxies = settings.trusted_proxies
        self._origins = frozenset(origin.encode() for origin in settings.cors_origins)
        self.is_watched = bool(self._hosts or self._proxies or self._origins)

    def admit(self, scope: Scope) -> None:
        """Refuse names that are not ours, and take the scheme from a load balancer that is.

        Raises:
            Misdirected: the request is for another host.
            Rejected: it does not say for which, or says several.
        """
        if self._hosts:
            self._refuse_other_hosts(scope)
        if self._proxies and self._is_trusted(_peer(scope)):
            said = _values(scope, b"x-forwarded-proto")
            if said in ([b"http"], [b"https"]):
                scope["scheme"] = said[0].decode()

    def address_of(self, scope: Scope) -> str:
        """Where the request comes from: the address (IPv6: its network) behind the trusted proxies."""
        address = _peer(scope)
        for hop in _hops(scope) if self._proxies else ():
            if not self._is_trusted(address):
                break
            address = hop
        return _network_of(address)

    def answer_preflight(self, scope: Scope) -> Headers | None:
        """The headers of the answer to a browser that asks before it sends; None: it is no such question."""
        if scope["method"] != "OPTIONS" or not self._origin_of(scope):
            return None
        if not _values(scope, b"access-control-request-method"):
            return None
        return [
            (b"access-control-allow-methods", b"GET, HEAD, POST"),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", _KEPT_S),
        ]

    def cors_headers(self, scope: Scope) -> Headers:
        """What an answer says to browsers: never `*`, and never that credentials may be sent along."""
        if not self._origins:
            return []
        varies = (b"vary", b"Origin")
        origin = self._origin_of(scope)
        if origin is None:
            return [varies]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            varies,
        ]

    def _refuse_other_hosts(self, scope: Scope) -> None:
        named = _values(scope, b"host")
        if len(named) != 1:
            raise Rejected("The request has to name its host, once.")
        host = named[0].decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._hosts:
            raise Misdirected(
                "This service does not answer for the host that the request names: check the base URL; "
                "TOLLHOUSE_ALLOWED_HOSTS lists its hosts."
            )

    def _origin_of(self, scope: Scope) -> bytes | None:
        """The request's origin, where it is one of ours."""
        said = _values(scope, b"origin")
        return said[0] if len(said) == 1 and said[0] in self._origins else None

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
        return any((mapped or parsed) in network for network in self._proxies)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _hops(scope: Scope) -> Iterator[str]:
    """What X-Forwarded-For says, the nearest hop first, up to the first that is no address."""
    said = b",".join(_values(scope, b"x-forwarded-for")).decode("latin-1")
    for text in reversed(said.split(",")):
        try:
            yield str(ip_address(text.strip()))
        except ValueError:
            return


def _network_of(address: str) -> str:
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((int(parsed), _IPV6_PREFIX), strict=False))
    return str(parsed.ipv4_mapped) if isinstance(parsed, IPv6Address) else address


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for found, value in scope["headers"] if found == name]
