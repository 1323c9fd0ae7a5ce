"""Write grants of one user under its lock: rows, new answers and an audit row each, in one transaction."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.read_catalog import Head
from domain.flows.recompute import Recomputed, recompute_user
from domain.flows.record_action import Operator, record_action
from domain.rules.answer import answer_at
from domain.rules.new_grant import GrantWish, judge_grant
from domain.rules.outranked import Outranking, list_outranking
from domain.store import grants
from domain.store.customers import LockedUser
from domain.store.grants import NewGrant
from domain.store.session import Connection

ACTION = "grant.create"

_encode = msgspec.json.Encoder(order="deterministic").encode


class Written(Struct, frozen=True, kw_only=True):
    recomputed: Recomputed
    #: By app: the version that is answered from now on.
    versions: dict[str, int]
    #: By id of the grant: those that keep it from counting.
    outranked_by: dict[str, tuple[Outranking, ...]]


async def write_grants(
    context: Context,
    connection: Connection,
    head: Head,
    new: Sequence[NewGrant],
    *,
    user_id: str,
    operator: Operator,
    now: datetime,
    batch: str | None = None,
) -> Written:
    """Store grants of one user, whose lock the caller holds; one recompute for all of them.

    `batch`: what the audit rows name where they came with others.

    Raises:
        Invalid: an idempotency key has made a grant of another user meanwhile.
    """
    for one in new:
        if not await grants.insert_grant(connection, one):
            # Under our user lock nobody else makes this user's grants: the key went to another user's.
            raise key_reused()
    user_key = new[0].user_key
    recomputed = await recompute_user(context, connection, user_key, cause="grant")
    present = await grants.load_grants(connection, new[0].project, user_key)
    written = Written(
        recomputed=recomputed,
        versions=versions_at(recomputed, user_id, now),
        outranked_by={one.grant.grant_id: list_outranking(one.grant, present, head.catalog) for one in new},
    )
    for one in new:
        await _record(connection, operator, one, written, {} if batch is None else {"batch": batch})
    return written


def new_grant(
    head: Head,
    user: LockedUser,
    wish: GrantWish,
    operator: Operator,
    now: datetime,
    *,
    idempotency_key: str | None = None,
    grant_id: str | None = None,
) -> NewGrant:
    """A row to be written. `grant_id` None: a new one. Raises: Invalid, naming everything that cannot be."""
    return NewGrant(
        grant=judge_grant(head.catalog, wish, grant_id=grant_id or new_grant_id(), now=now),
        project=user.project,
        user_key=user.user_key,
        reason=wish.reason.strip(),
        actor=operator.actor,
        idempotency_key=idempotency_key,
        request_sha256=None if idempotency_key is None else digest_of(user.user_id, wish),
    )


def new_grant_id() -> str:
    return "gr_" + secrets.token_hex(12)


def digest_of(user_id: str, wish: GrantWish) -> bytes:
    """What an idempotency key stands for: the same words for the same user."""
    return sha256(_encode([user_id, wish])).digest()


def versions_at(recomputed: Recomputed, user_id: str, now: datetime) -> dict[str, int]:
    """By app: the version that is answered at `now`."""
    return {stored.app: answer_at(stored, user_id, now).version for _, stored in recomputed.sets}


def key_reused() -> Invalid:
    return Invalid(
        "This Idempotency-Key stands for another call: send a new one with a new body.",
        code="idempotency_key_reused",
        errors=(FieldError("Idempotency-Key", "was used with another body"),),
    )


async def _record(
    connection: Connection, operator: Operator, new: NewGrant, written: Written, beside: Mapping[str, str]
) -> None:
    made = new.grant
    await record_action(
        connection,
        operator,
        action=ACTION,
        project=new.project,
        user_key=new.user_key,
        subject=("grant", made.grant_id),
        reason=new.reason,
        details={
            "effect": made.effect,
            "target": {made.target_kind: made.target},
            "value": made.value,
            "starts_at": made.starts_at,
            "expires_at": made.expires_at,
            "changed": written.recomputed.changed,
            "versions": written.versions,
            "outranked_by": written.outranked_by[made.grant_id],
            **beside,
        },
    )
