"""Export: everything we hold of one user, for somebody who has the right to know it."""

import zlib
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Broken
from domain.flows.name_user import refuse_moved
from domain.flows.record_action import Operator, record_action
from domain.flows.show_user import UserAnswers, answers_of, require_user
from domain.store import customers, exports, moves
from domain.store.moves import Told
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

_decode_row = msgspec.json.Decoder(dict[str, Any]).decode
_decode = msgspec.json.decode

#: Column → value: times RFC 3339, money in minor units. docs/operations.md explains each list.
Row = dict[str, Any]


class EarlierUser(Struct, frozen=True, kw_only=True):
    """What was told and done under an id that was merged into the user, in the time before."""

    user_key: int
    #: An earlier merge: what was told under the key before that is another's. None: there was none.
    after: datetime | None
    #: The merge.
    until: datetime
    entitlement_history: list[Row]
    entitlement_changes: list[Row]
    actions: list[Row]
    reconciliations: list[Row]
    drifts: list[Row]


class ExportedUser(Struct, frozen=True, kw_only=True):
    """What our database holds of a user. What Stripe holds is Stripe's to export: `customers` names it."""

    project: str
    user_id: str
    user_key: int
    exported_at: datetime
    #: What each app reads now.
    answers: list[UserAnswers]
    #: Stripe customers that are linked to the user.
    customers: list[Row]
    #: Checkouts that apps asked for, with when a success page claimed them.
    checkouts: list[Row]
    subscriptions: list[Row]
    subscription_items: list[Row]
    purchases: list[Row]
    invoices: list[Row]
    invoice_lines: list[Row]
    #: Which payment is on which invoice.
    invoice_payments: list[Row]
    payments: list[Row]
    refunds: list[Row]
    disputes: list[Row]
    dispute_funds: list[Row]
    #: With operators' reasons.
    grants: list[Row]
    #: The stored timelines.
    entitlements: list[Row]
    #: What was answered, and from what.
    entitlement_history: list[Row]
    #: What the change feed told apps.
    entitlement_changes: list[Row]
    revenue_entries: list[Row]
    #: What the subscriptions came to a month, since when and until when.
    recurring_sums: list[Row]
    #: What operators did, this export included.
    actions: list[Row]
    #: Reconciliations of this user alone.
    reconciliations: list[Row]
    drifts: list[Row]
    #: What was told under ids that were merged into this user.
    earlier: list[EarlierUser]
    #: Deliveries of Stripe and wishes of our own; `payload` null: expired, or none.
    events: list[Row]


async def export_user(context: Context, project: str, user_id: str, operator: Operator) -> ExportedUser:
    """Everything we hold of the user, as one moment shows it; one row of the audit log says who asked.

    Raises:
        Unknown: there is no such project or user.
        Conflict: all that the user had is another's.
        Unavailable: Postgres is away.
    """
    async with context.database.transaction() as connection:
        known = await require_user(connection, project, user_id)
        # Whoever writes something of a user holds this lock: the lists belong together.
        user = await customers.lock_user(connection, known.user_key)
        await refuse_moved(connection, project, user.user_key)
        now = await context.now(connection)
        await record_action(
            connection,
            operator,
            action="user.export",
            project=project,
            user_key=user.user_key,
            subject=("user", str(user.user_key)),
            reason=None,
            details={},
        )
        own, *earlier = await moves.list_told(connection, project, user.user_key)
        sections = {
            name: await exports.list_section(connection, name, project, user.user_key)
            for name in exports.SECTIONS
            if name not in exports.TOLD
        }
        exported = ExportedUser(
            project=project,
            user_id=user_id,
            user_key=user.user_key,
            exported_at=now,
            answers=await answers_of(connection, project, user.user_key, user.clock_at or now),
            events=await _events(connection, project, user.user_key),
            earlier=[await _earlier(connection, project, one) for one in earlier],
            **sections,
            **await _told(connection, project, own),
        )
    log.info("user_exported", user_key=exported.user_key, actor=operator.actor)
    return exported


async def _told(connection: Connection, project: str, told: Told) -> dict[str, list[Row]]:
    """Whoever had the id before, and was merged away, is not the user's to read of."""
    time = (told.after, told.until)
    return {
        name: await exports.list_told(connection, name, project, told.user_key, time) for name in exports.TOLD
    }


async def _earlier(connection: Connection, project: str, told: Told) -> EarlierUser:
    if told.until is None:
        raise Broken(f"user_key {told.user_key} was merged away, and no row of the audit log says when")
    return EarlierUser(
        user_key=told.user_key,
        after=told.after,
        until=told.until,
        **await _told(connection, project, told),
    )


async def _events(connection: Connection, project: str, user_key: int) -> list[Row]:
    return [
        {**_decode_row(one.row), "payload": None if one.payload is None else _unpacked(one.payload)}
        for one in await exports.list_events(connection, project, user_key)
    ]


def _unpacked(payload: bytes) -> Any:
    """The JSON of a delivery; its text where it holds a number that no machine has."""
    body = zlib.decompress(payload)
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")
