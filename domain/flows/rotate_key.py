"""Rotate a key: a second one is made, and the first one ends a while later; nobody is refused between."""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid
from domain.flows.manage_keys import (
    SCOPES,
    CreatedKey,
    KeyWish,
    load_key,
    mint_key,
    publish_end,
    refuse_escalation,
    refuse_reason,
    refuse_third_key,
)
from domain.flows.record_action import NOBODY, Operator, record_action
from domain.store import api_keys
from domain.store.api_keys import ListedKey
from domain.store.session import Connection
from domain.telemetry import get_logger

#: How long both keys are let in: a day covers a deployment of whoever uses the key.
OVERLAP = timedelta(hours=24)
#: Longer, and the old key is simply a second key that nobody remembers.
LONGEST_OVERLAP = timedelta(days=30)

log = get_logger()


class Rotated(Struct, frozen=True, kw_only=True):
    #: The new key: what `created.key` says is shown this once.
    created: CreatedKey
    replaced_key_id: str
    #: Until then the replaced key is let in too.
    replaced_ends_at: datetime


async def rotate_key(
    context: Context,
    key_id: str,
    *,
    overlap: timedelta = OVERLAP,
    operator: Operator = NOBODY,
    reason: str | None = None,
    within: tuple[str, str] | None = None,
    may_give: frozenset[str] = frozenset(SCOPES),
) -> Rotated:
    """Make a key like this one, and end this one after `overlap` (0: at once), or at its own end if sooner.

    The new key has the same name and scopes; where the old one had an end, the new one lives as long as the
    old one was meant to. `within` and `may_give` as in `revoke_key` and `create_key`.

    Raises:
        Unknown: there is no such key there.
        Invalid: the overlap or the reason is not one.
        Forbidden: the new key would give scopes that who asks does not have.
        Conflict: the key has ended, is being replaced already, or its app has another live key beside it.
    """
    refuse_reason(reason)
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        what = f"0 to {LONGEST_OVERLAP.days} days"
        raise Invalid("This cannot be an overlap.", errors=(FieldError("overlap", what),))
    async with context.database.transaction() as connection:
        key = await load_key(connection, key_id, within)
        _refuse_ended(key)
        refuse_escalation(key.scopes, may_give)
        wish = _like(key)
        await refuse_third_key(connection, wish)
        created = await mint_key(connection, context.settings, wish, operator)
        ends_at = await api_keys.replace_key(
            connection, key_id, replaced_by=created.key_id, overlap=overlap, ended_by=operator.actor
        )
        rotated = Rotated(created=created, replaced_key_id=key_id, replaced_ends_at=ends_at)
        await _record(connection, operator, wish, rotated, reason)
    log.info("key_rotated", key_id=key_id, replaced_by=created.key_id, ends_at=ends_at.isoformat())
    await publish_end(context, key_id)
    return rotated


def _refuse_ended(key: ListedKey) -> None:
    if key.state == "ending":
        raise Conflict(
            f"This key is being replaced by {key.replaced_by} already: rotate that one, or revoke this one.",
            code="key_ended",
        )
    if key.state != "live":
        raise Conflict(
            f"This key is {key.state}: make a new one with `tollhouse keys create`.", code="key_ended"
        )


def _like(key: ListedKey) -> KeyWish:
    lifetime = None if key.expires_at is None else key.expires_at - key.created_at
    return KeyWish(
        kind=key.kind,
        project=key.project,
        app=key.app,
        name=key.name,
        scopes=key.scopes,
        expires_at=None if lifetime is None else datetime.now(UTC) + lifetime,
    )


async def _record(
    connection: Connection, operator: Operator, wish: KeyWish, rotated: Rotated, reason: str | None
) -> None:
    await record_action(
        connection,
        operator,
        action="key.rotate",
        project=wish.project,
        user_key=None,
        subject=("key", rotated.replaced_key_id),
        reason=reason,
        details={
            **msgspec.to_builtins(wish),
            "replaced_by": rotated.created.key_id,
            "replaced_ends_at": rotated.replaced_ends_at.isoformat(),
        },
    )
