"""The audit log: what an operator did, written in the transaction of the action. Rows are only added."""

from msgspec import Struct

from domain.store.session import Connection


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One action of an operator. The database sets when."""

    #: Name of the key, or the terminal's user.
    actor: str
    #: noun.verb, such as grant.create.
    action: str
    #: None: of the whole deployment.
    project: str | None
    user_key: int | None
    subject_kind: str
    subject_id: str
    #: The operator's words.
    reason: str | None
    #: JSON: what was asked for and what it changed. No personal data: not even a `user_id`.
    details: bytes
    request_id: str | None


async def append_entry(connection: Connection, entry: AuditEntry) -> None:
    """Keep an action for ever; Postgres refuses to change or delete the row."""
    await connection.execute(
        """
        INSERT INTO audit_log
            (actor, action, project, user_key, subject_kind, subject_id, reason, details, request_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        entry.actor,
        entry.action,
        entry.project,
        entry.user_key,
        entry.subject_kind,
        entry.subject_id,
        entry.reason,
        entry.details.decode(),
        entry.request_id,
    )


async def find_details(
    connection: Connection, project: str, user_key: int, *, action: str, subject_id: str
) -> bytes | None:
    """The JSON details of the oldest such action on one user; None: there was none."""
    details = await connection.fetchval(
        """
        SELECT details::text FROM audit_log
        WHERE project = $1 AND user_key = $2 AND action = $3 AND subject_id = $4 ORDER BY id LIMIT 1
        """,
        project,
        user_key,
        action,
        subject_id,
    )
    return None if details is None else bytes(details.encode())
