"""Record what an operator does, in the transaction that does it: neither is ever without the other."""

from typing import Any

import msgspec
from msgspec import Struct

from domain.store import audit
from domain.store.audit import AuditEntry
from domain.store.session import Connection

_encode = msgspec.json.Encoder(order="deterministic").encode


class Operator(Struct, frozen=True, kw_only=True):
    """Who acts, and in which request."""

    #: Name of the key, with whom it acts for; `cli:…` from a terminal.
    actor: str
    #: None: from a terminal.
    request_id: str | None = None


#: Who acts where no person does, such as a program that prepares a deployment.
NOBODY = Operator(actor="system")


async def record_action(
    connection: Connection,
    operator: Operator,
    *,
    action: str,
    project: str | None,
    user_key: int | None,
    subject: tuple[str, str],
    reason: str | None,
    details: dict[str, Any],
) -> None:
    """One row per action. `action` is noun.verb, `subject` its (kind, id) as the operator named it.

    `details` say what was asked for and what it changed, and hold no personal data: a user is its user_key.
    """
    kind, subject_id = subject
    entry = AuditEntry(
        actor=operator.actor,
        action=action,
        project=project,
        user_key=user_key,
        subject_kind=kind,
        subject_id=subject_id,
        reason=reason,
        details=_encode(details),
        request_id=operator.request_id,
    )
    await audit.append_entry(connection, entry)
