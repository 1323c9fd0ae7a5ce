"""How often a key may ask this process: one bucket for its reads, one for its writes."""

from math import ceil
from typing import Literal

from starlette.types import Scope as AsgiScope

from domain.errors import TooMany
from domain.flows.limit import Buckets, Limit
from domain.flows.manage_keys import SCOPES, Scope
from domain.settings import Settings

#: Seconds' worth that may come at once: a page that asks for much, a program that has just started.
BURST_S = 5

#: Whatever else a scope allows, it changes something.
_READS = frozenset(scope for scope in SCOPES if scope.endswith(":read"))


class KeyLimits:
    """One per process."""

    def __init__(self, settings: Settings) -> None:
        self._reads = _buckets(settings.read_rate)
        self._writes = _buckets(settings.write_rate)

    def take(self, asked: AsgiScope, key_id: str, needed: Scope) -> None:
        """Count a request of this key that needs this scope.

        Raises:
            TooMany: the key has used up its reads or its writes.
        """
        if needed in _READS:
            # Nothing is noted for the answer: on the hot path two more headers cost more than the limit.
            if (wait_s := self._reads.take(key_id)) > 0:
                raise self.refusal_of_read(ceil(wait_s))
            return
        if (wait_s := self._writes.take(key_id)) > 0:
            raise _too_many("write", self._writes.limit, ceil(wait_s))
        if self._writes.limit.rate_per_s:
            asked["tollhouse.rate"] = (self._writes, key_id)

    def take_more_reads(self, key_id: str, reads: int) -> None:
        """Count a request, let in as one read, as that many more; what no full bucket could hold is free.

        Raises:
            TooMany: they are not there yet; none is counted.
        """
        reads = min(reads, self._reads.limit.burst - 1)
        if reads > 0 and (wait_s := self._reads.take(key_id, reads)) > 0:
            raise self.refusal_of_read(ceil(wait_s))

    def reads_wait_s(self, key_id: str) -> float:
        """Seconds until this key may read again; 0: it may. Counts nothing."""
        return self._reads.wait_s(key_id)

    def refusal_of_read(self, wait_s: int) -> TooMany:
        """What a key is told that has used up its reads."""
        return _too_many("read", self._reads.limit, wait_s)


def rate_headers(asked: AsgiScope) -> list[tuple[bytes, bytes]]:
    """`RateLimit` and `RateLimit-Policy` of an answer to a write; none of other answers."""
    noted: tuple[Buckets, str] | None = asked.get("tollhouse.rate")
    if noted is None:
        return []
    buckets, key_id = noted
    left, full_in_s = buckets.remaining(key_id)
    return [
        (b"ratelimit-policy", b'"write";q=%d;w=%d' % (buckets.limit.burst, buckets.limit.window_s)),
        (b"ratelimit", b'"write";r=%d;t=%d' % (left, full_in_s)),
    ]


def _buckets(rate_per_s: float) -> Buckets:
    return Buckets(Limit(rate_per_s, max(ceil(rate_per_s * BURST_S), 1)))


def _too_many(name: Literal["read", "write"], limit: Limit, wait_s: int) -> TooMany:
    return TooMany(
        f"This key asks more often than {limit.rate_per_s:g} {name}s a second: wait as Retry-After says. "
        f"TOLLHOUSE_{name.upper()}_RATE is the limit of each process.",
        name=name,
        quota=limit.burst,
        window_s=limit.window_s,
        retry_after_s=wait_s,
    )
