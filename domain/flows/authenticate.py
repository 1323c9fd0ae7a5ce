"""Recognise the API key of a request: from memory while that is fresh, else from Postgres.

A key is remembered by the hash of its whole text, wrong ones too. So an unknown id and a wrong secret take
the same way and the same time, and asking again with either asks nobody.
"""

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import TypeVar

from msgspec import Struct

from domain.context import Context
from domain.errors import TooMany, Unauthorized, Unavailable
from domain.flows.limit import Buckets, Limit
from domain.flows.manage_keys import SCOPES, Scope, find_mode
from domain.rules.api_key import ApiKey, KeyMode, is_secret_of, parse_key
from domain.store import api_keys
from domain.store.api_keys import KeyKind, StoredKey
from domain.store.bounded import BoundedReads
from domain.store.session import Connection

#: Verified keys in memory, and texts known to be wrong: a deployment has hundreds of keys, an attacker
#: any number of texts. About 0.5 KB each.
KNOWN_AT_MOST, REFUSED_AT_MOST = 10_000, 10_000
#: How long a wrong text stays wrong without asking again.
REFUSED_S = 60.0
#: Questions about keys that run at one time: invented keys must not take every connection of the pool.
ASKED_AT_ONCE = 4
#: Wrong keys in a row from one address, before `failed_login_rate` holds.
FAILURES_AT_ONCE = 20

#: Compared with when the id is unknown, so that this takes as long as a wrong secret.
_NOBODY = StoredKey(
    key_id="", kind="operator", project=None, app=None, name="", scopes=(), secret_hmac=bytes(32),
    pepper_version=0, expires_at=None, revoked_at=None,
)  # fmt: skip
_NO_PEPPER = bytes(32)

Kept = TypeVar("Kept")


class Principal(Struct, frozen=True, kw_only=True):
    """Who asks. The project comes from here, never from the request, but for an operator of all."""

    key_id: str
    kind: KeyKind
    #: None: an operator of every project.
    project: str | None
    #: None but for app keys.
    app: str | None
    scopes: frozenset[Scope]
    #: The key's name: the actor of a change.
    name: str


class _Verified(Struct):
    principal: Principal
    expires_at: datetime | None
    #: Monotonic seconds at which Postgres was asked, and at which somebody last came with it.
    read_at: float
    used_at: float


class KeyRing:
    """The keys this process has seen; one per process.

    Who sends invented keys costs a question to Postgres for each one that is well-formed and new. An address
    has FAILURES_AT_ONCE of them, then `failed_login_rate` a second; keys that were verified before are let in
    from there all the same.
    """

    def __init__(self, context: Context) -> None:
        self._reads = BoundedReads(context.database)
        self._fresh_s = context.settings.fresh_s
        self._stale_s = context.settings.stale_s
        self._peppers = {
            version: bytes.fromhex(pepper.reveal()) for version, pepper in context.settings.key_peppers
        }
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}
        self._turn = asyncio.Semaphore(ASKED_AT_ONCE)
        self._failures = Buckets(Limit(context.settings.failed_login_rate, FAILURES_AT_ONCE))
        self._settings = context.settings
        #: None: neither the settings nor, so far, the database say it.
        self._mode: KeyMode | None = None
        #: What was read before may have missed a revocation.
        self._fresh_from = 0.0
        #: Uses up to here were handed over by `take_used`.
        self._noted_until = 0.0

    def find_fresh(self, text: str) -> Principal | None:
        """Whose key this is, where memory can tell by itself; None: `authenticate` must ask."""
        known = self._verified.get(_digest(text))
        if known is None:
            return None
        now = time.monotonic()
        if now - known.read_at > self._fresh_s or known.read_at < self._fresh_from:
            return None
        if _is_over(known.expires_at):
            return None
        known.used_at = now
        return known.principal

    async def authenticate(self, text: str, address: str = "") -> Principal:
        """Whose key this is; `address` is where the request comes from.

        Raises:
            Unauthorized: malformed, unknown, wrong, expired or revoked; the answer never says which. A key of
                the other mode is told so, where it is not valid here.
            TooMany: too many wrong keys came from this address, and this one was never verified.
            Unavailable: Postgres is away and the key was not verified within the last `stale_s`.
        """
        key = parse_key(text)
        if key is None:
            raise _refusal()
        digest = _digest(text)
        if (principal := self.find_fresh(text)) is not None:
            return principal
        if (
            refused_at := self._refused.get(digest)
        ) is not None and time.monotonic() - refused_at < REFUSED_S:
            raise self._refusal_of(key)
        try:
            return await self._ask_once(digest, key, address)
        except Unavailable:
            known = self._verified.get(digest)
            now = time.monotonic()
            if known is None or now - known.read_at > self._stale_s or _is_over(known.expires_at):
                raise
            known.used_at = now
            return known.principal

    def forget(self, key_id: str) -> None:
        """Drop a key that was revoked: the next request asks Postgres."""
        for digest, known in list(self._verified.items()):
            if known.principal.key_id == key_id:
                del self._verified[digest]
        # What is being asked may have been read before the revocation.
        self._asking.clear()

    def doubt(self) -> None:
        """Messages may have been missed: every key is asked for again before it is next let in."""
        self._fresh_from = time.monotonic()
        self._asking.clear()

    def take_used(self) -> list[tuple[str, datetime]]:
        """(key id, when it was last used here) of the keys used since this was last called."""
        now, wall = time.monotonic(), datetime.now(UTC)
        used = [
            (known.principal.key_id, wall - timedelta(seconds=now - known.used_at))
            for known in self._verified.values()
            if known.used_at > self._noted_until
        ]
        self._noted_until = now
        return used

    async def _ask_once(self, digest: bytes, key: ApiKey, address: str) -> Principal:
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._ask(digest, key, address))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._finish(digest, done))
        return await asyncio.shield(task)

    async def _ask(self, digest: bytes, key: ApiKey, address: str) -> Principal:
        async with self._turn:
            if digest not in self._verified and (wait_s := self._failures.wait_s(address)) > 0:
                raise _too_many(self._failures.limit, wait_s)
            read_at = time.monotonic()
            stored = await self._reads.ask(lambda connection: self._read(connection, key.key_id))
        if not self._is_valid(stored, key) or stored is None:
            self._verified.pop(digest, None)
            _remember(self._refused, digest, read_at, REFUSED_AT_MOST)
            self._failures.take(address)
            raise self._refusal_of(key)
        verified = _Verified(_principal(stored), stored.expires_at, read_at, time.monotonic())
        # Not after `forget`: the row may have been read before its revocation.
        if self._asking.get(digest) is asyncio.current_task():
            _remember(self._verified, digest, verified, KNOWN_AT_MOST)
        return verified.principal

    async def _read(self, connection: Connection, key_id: str) -> StoredKey | None:
        if self._mode is None:
            self._mode = await find_mode(connection, self._settings)
        return await api_keys.find_key(connection, key_id)

    def _refusal_of(self, key: ApiKey) -> Unauthorized:
        """A key made before the mode was known may have the other prefix: only what is wrong is told so."""
        if self._mode is None or key.mode == self._mode:
            return _refusal()
        return Unauthorized(
            f"This is a key for {key.mode} mode, and this deployment is in {self._mode} mode: use the base "
            f"URL of the {key.mode} deployment, or a key that begins with th_{self._mode}_.",
            code="wrong_mode",
        )

    def _is_valid(self, stored: StoredKey | None, key: ApiKey) -> bool:
        compared = stored or _NOBODY
        pepper = self._peppers.get(compared.pepper_version, _NO_PEPPER)
        is_secret = is_secret_of(compared.secret_hmac, pepper, key.secret)
        is_known = stored is not None and compared.pepper_version in self._peppers
        return is_known and is_secret and compared.revoked_at is None and not _is_over(compared.expires_at)

    def _finish(self, digest: bytes, done: "asyncio.Task[Principal]") -> None:
        if self._asking.get(digest) is done:
            del self._asking[digest]
        if not done.cancelled():
            # Everybody who waited may have left; their error must not be printed at exit.
            done.exception()


def _digest(text: str) -> bytes:
    return sha256(text.encode("ascii", "replace")).digest()


def _is_over(expires_at: datetime | None) -> bool:
    return expires_at is not None and expires_at <= datetime.now(UTC)


def _principal(stored: StoredKey) -> Principal:
    scopes = frozenset(scope for scope in SCOPES if scope in stored.scopes)
    return Principal(
        key_id=stored.key_id,
        kind=stored.kind,
        project=stored.project,
        app=stored.app,
        scopes=scopes,
        name=stored.name,
    )


def _remember(memory: OrderedDict[bytes, Kept], digest: bytes, kept: Kept, at_most: int) -> None:
    memory[digest] = kept
    memory.move_to_end(digest)
    if len(memory) > at_most:
        memory.popitem(last=False)


def _too_many(limit: Limit, wait_s: float) -> TooMany:
    return TooMany(
        "Too many wrong API keys came from your address: wait as Retry-After says, and send the right one.",
        code="too_many_failed_logins",
        name="failed-login",
        quota=limit.burst,
        window_s=limit.window_s,
        retry_after_s=ceil(wait_s),
    )


def _refusal() -> Unauthorized:
    return Unauthorized(
        "The request needs a valid API key: send it as `Authorization: Bearer th_…`. "
        "`tollhouse keys create` makes one."
    )
