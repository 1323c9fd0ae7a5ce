"""Run a call once, however often it is sent: the one seam of the `Idempotency-Key` header.

A door asks `ingress.repeating.answer_once(call, work)`; `work` gets an `Attempt` and calls its flow:

    revoked = await revoke(context, project, …, keep=attempt.keep)        # our own effect
    opened = await open_checkout(context, project, app, wish, attempt)    # an effect at Stripe

- An effect of ours calls `await keep(connection, answer)` as the last statement of the transaction that
  makes it: effect and answer are both there, or neither. An attempt that another one has taken over is
  refused there, which rolls its transaction back. What is not kept so, is kept in a transaction of its own
  afterwards.
- An effect at Stripe names everything after `attempt.id`: rows of ours, and Stripe's own idempotency keys
  (`f"checkout:{attempt.id}"`). The id stays the same over all attempts of one call, so that an attempt which
  resumes a dead one's work finds what that one has made instead of making it again. `keep` then goes into the
  transaction that writes what Stripe answered.
- A call without the header is an attempt like any other, whose `keep` writes nothing.

What is kept: the answer of a success, for a day. A refusal (4xx) changed nothing and frees its key, for the
same body or another one; a refusal that passes by itself (`retry_after_s`), a failure (5xx) or a death leaves
the key with its body, and the same call goes on where it stopped, with the same id. A failure that Stripe
itself keeps under its idempotency key frees ours, too.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, Rejected, ReplayedFailure, Unavailable
from domain.store import idempotency
from domain.store.idempotency import KeyName, KeyRow
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

#: Of a key, in printable ASCII.
KEY_LENGTH = 255
#: As long as Stripe keeps its own: a call that is resumed later could find them gone.
KEPT_S = 24 * 3600.0
#: A request that is cut off by its deadline may take so long more to say that nobody is on its call.
LET_GO_S = 1.0
#: When somebody should ask again whose call is under way: most take less.
RETRY_AFTER_S = 1
#: Keys deleted in one go.
BATCH = 1000

#: Keeps an answer in the transaction of its effect: `await keep(connection, answer)`.
Keep = Callable[[Connection, object], Awaitable[object]]

_encode = msgspec.json.Encoder().encode
_encode_request = msgspec.json.Encoder(order="deterministic").encode


class KeyedCall(Struct, frozen=True, kw_only=True):
    """A call that its caller has given a key."""

    #: None: it concerns no one project.
    project: str | None
    #: Whose key it is: another caller's same text is another key.
    caller: str
    #: Method and path.
    route: str
    #: The header's text.
    key: str
    #: Everything that was asked for, as JSON can say it.
    asked: object


class Answered(Struct, frozen=True, kw_only=True):
    status: int
    #: JSON.
    body: bytes
    #: An earlier attempt was answered so.
    is_replayed: bool = False


class Attempt:
    """One try at a call. `id` is the call's: every attempt at it has the same."""

    def __init__(self, call_id: UUID, *, status: int, token: str | None = None) -> None:
        """`token` None: the caller gave no key, and nothing is kept."""
        self.id = call_id
        self.token = token
        self.answered: Answered | None = None
        self.status = status

    async def keep(self, connection: Connection, answer: object) -> Answered:
        """Keep the answer of a success in the caller's transaction, as its last statement.

        Raises:
            Conflict: this attempt's time ran out and another goes on with the call: nothing of it may commit.
        """
        answered = Answered(status=self.status, body=_encode(answer))
        if self.token is not None and not await idempotency.keep_answer(
            connection, self.id, self.token, answered.status, answered.body
        ):
            raise _in_flight()
        self.answered = answered
        return answered


async def keep_nothing(_connection: Connection, _answer: object) -> None:
    """The `Keep` of a call from elsewhere than a door, such as a terminal."""


async def run_once(
    context: Context,
    call: KeyedCall | None,
    work: Callable[[Attempt], Awaitable[object]],
    *,
    status: int = 200,
) -> Answered:
    """`work`, or what it was answered when this call was done before. `status`: of its success.

    Raises:
        Invalid: the key stands for another call (`idempotency_key_reused`).
        Conflict: another attempt is under way (`idempotency_in_flight`).
        Unavailable: Postgres is away; asking again is safe.
    """
    if call is None:
        return await _attempt(context, Attempt(uuid.uuid4(), status=status), work)
    token = uuid.uuid4().hex
    claimed = await _claim(context, _name(call), token)
    if isinstance(claimed, Answered):
        return claimed
    attempt = Attempt(claimed, status=status, token=token)
    await context.faults.reach("idempotency.claimed")
    try:
        answered = await _attempt(context, attempt, work)
    except BaseException as error:
        await _let_go(context, attempt, error)
        raise
    await context.faults.reach("idempotency.kept")
    return answered


async def prune_keys(context: Context) -> int:
    """Forget calls that are a day old, at most BATCH. Answers how many."""
    async with context.database.connection() as connection:
        return await idempotency.prune_keys(connection, BATCH)


async def _claim(context: Context, name: KeyName, token: str) -> UUID | Answered:
    async with context.database.connection() as connection:
        # Looking first locks nothing: a crowd that waits for one call must not stand in that call's way.
        known = _judge(name, await idempotency.find_key(connection, name))
        if known is not None:
            return known
        claimed = await idempotency.claim_key(
            connection,
            name,
            new_id=uuid.uuid4(),
            token=token,
            lease_s=context.settings.lease_s,
            kept_s=KEPT_S,
        )
        if claimed is not None:
            return claimed
        # Somebody else was faster; where even that one has gone by now, the caller asks again all the same.
        known = _judge(name, await idempotency.find_key(connection, name))
    if known is not None:
        return known
    raise _in_flight()


def _judge(name: KeyName, found: KeyRow | None) -> Answered | None:
    """The answer that was kept; None: nobody is on the call.

    Raises:
        Invalid: the key stands for another call.
        Conflict: an attempt is under way.
    """
    if found is None:
        return None
    if found.request_sha256 != name.request_sha256:
        raise _reused()
    if found.status is not None and found.body is not None:
        return Answered(status=found.status, body=found.body, is_replayed=True)
    if found.is_leased:
        raise _in_flight()
    return None


async def _attempt(
    context: Context, attempt: Attempt, work: Callable[[Attempt], Awaitable[object]]
) -> Answered:
    answer = await work(attempt)
    if attempt.answered is not None:
        return attempt.answered
    if attempt.token is None:
        return Answered(status=attempt.status, body=_encode(answer))
    async with context.database.transaction() as connection:
        return await attempt.keep(connection, answer)


async def _let_go(context: Context, attempt: Attempt, error: BaseException) -> None:
    """Whoever sends the call again need not wait for the lease; where this fails, it runs out."""
    is_refused = isinstance(error, Rejected) and error.retry_after_s is None
    # Under keys made of this id Stripe would say the same for a day: the next attempt is a call of its own.
    is_over = is_refused or isinstance(error, ReplayedFailure)
    let_go = idempotency.forget_key if is_over else idempotency.release_key
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(LET_GO_S), context.database.connection() as connection:
            await let_go(connection, attempt.id, attempt.token or "")


def _name(call: KeyedCall) -> KeyName:
    return KeyName(
        project=call.project,
        caller=call.caller,
        route=call.route,
        key_sha256=sha256(call.key.encode()).digest(),
        request_sha256=sha256(_encode_request(call.asked)).digest(),
    )


def _reused() -> Invalid:
    return Invalid(
        "This Idempotency-Key stands for another call: send a new one with a new body.",
        code="idempotency_key_reused",
        errors=(FieldError("Idempotency-Key", "was used with another body"),),
    )


def _in_flight() -> Conflict:
    return Conflict(
        "The same call is under way under this Idempotency-Key: send it again in a second for its answer.",
        code="idempotency_in_flight",
        retry_after_s=RETRY_AFTER_S,
    )
