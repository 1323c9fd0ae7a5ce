"""The audit log: what an operator did, written in the transaction of the action. Rows are only added."""

from datetime import datetime

from msgspec import Raw, Struct

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


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which rows; None: whatever it is."""

    project: str | None = None
    user_key: int | None = None
    actor: str | None = None
    #: Such as grant.create, or the noun alone for all of its verbs.
    action: str | None = None
    #: From then on.
    since: datetime | None = None
    #: Before then.
    until: datetime | None = None


class AuditRow(Struct, frozen=True, kw_only=True):
    id: int
    at: datetime
    actor: str
    action: str
    project: str | None
    #: What the user is called now; None: it concerned none.
    user_id: str | None
    subject_kind: str
    subject_id: str
    reason: str | None
    #: JSON.
    details: Raw
    request_id: str | None


#: Field of `AuditFilter` → its condition. Only what is wanted is asked, so that each question has its index.
_CONDITIONS = {
    "project": "a.project = {0}",
    "user_key": "a.user_key = {0}",
    "actor": "a.actor = {0}",
    "action": "(a.action = {0} OR starts_with(a.action, {0} || '.'))",
    "since": "a.at >= {0}",
    "until": "a.at < {0}",
}


async def list_entries(
    connection: Connection, wanted: AuditFilter, *, before: int | None, limit: int
) -> list[AuditRow]:
    """Newest first; `before` is the id of the last row of the page before.

    Generated for a project and an action, with a page before:

        … WHERE a.project = $1 AND (a.action = $2 OR …) AND a.id < $3 ORDER BY a.id DESC LIMIT $4
    """
    asked = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
    conditions = [_CONDITIONS[name].format(f"${number}") for number, name in enumerate(asked, start=1)]
    values = [*asked.values()]
    if before is not None:
        values.append(before)
        conditions.append(f"a.id < ${len(values)}")
    rows = await connection.fetch(
        f"""
        SELECT a.id, a.at, a.actor, a.action, a.project, u.user_id, a.subject_kind, a.subject_id, a.reason,
               a.details::text AS details, a.request_id
        FROM audit_log a LEFT JOIN users u ON u.user_key = a.user_key
        WHERE {" AND ".join(["true", *conditions])} ORDER BY a.id DESC LIMIT ${len(values) + 1}
        """,
        *values,
        limit,
    )
    return [AuditRow(**{**row, "details": Raw(row["details"].encode())}) for row in rows]
