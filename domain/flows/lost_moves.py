"""Users who were renamed, merged or erased in the time that a restore lost: they are as they were before.

Our logs name them by their keys. An erased one is back with all that was held of it, so this must be seen.
"""

import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from domain.store import restored
from domain.store.restored import KnownUser
from domain.store.session import Connection

MoveKind = Literal["rename", "merge", "erasure"]
KINDS: dict[str, MoveKind] = {"user_renamed": "rename", "users_merged": "merge", "user_erased": "erasure"}
_ACTIONS: dict[MoveKind, str] = {"rename": "user.rename", "merge": "user.merge", "erasure": "user.erase"}


class LostMove(Struct, frozen=True, kw_only=True):
    kind: MoveKind
    user_key: int
    #: The log's time.
    at: str
    next: str


async def find_lost_moves(connection: Connection, logs: Iterable[Mapping[str, Any]]) -> list[LostMove]:
    """Those of these log lines that the audit log does not know."""
    lines = [line for line in logs if line.get("event") in KINDS and isinstance(line.get("user_key"), int)]
    found: list[LostMove] = []
    for kind, action in _ACTIONS.items():
        made = [line for line in lines if KINDS[line["event"]] == kind]
        times = [_time_of(line) for line in made]
        lost = await restored.list_lost_moves(connection, action, [one["user_key"] for one in made], times)
        keys = {key for line in made for key in (line["user_key"], line.get("into")) if isinstance(key, int)}
        known = await restored.list_known_users(connection, sorted(keys))
        found += [
            _lost(kind, line, known, at) for line, at, gone in zip(made, times, lost, strict=True) if gone
        ]
    return found


def _lost(kind: MoveKind, line: Mapping[str, Any], known: Mapping[int, KnownUser], at: datetime) -> LostMove:
    user = _user_then(known, line["user_key"], at)
    into = _user_then(known, line.get("into"), at)
    return LostMove(
        kind=kind, user_key=line["user_key"], at=str(line.get("timestamp", "")), next=_next(kind, user, into)
    )


def _next(kind: MoveKind, user: KnownUser | None, into: KnownUser | None) -> str:
    if user is None:
        return "the user was new then: who asked for it knows the ids; do it again if they are back"
    named, of = shlex.quote(user.user_id), f"--project {user.project} --reason …"
    if kind == "erasure":
        return f"everything is back, erase it again: tollhouse users erase {named} {of}"
    if kind == "rename":
        return f"who asked for it knows the new id: tollhouse users rename {named} NEW_ID {of}"
    target = "INTO" if into is None else shlex.quote(into.user_id)
    return f"merge them again: tollhouse users merge {named} {target} {of}"


def _user_then(known: Mapping[int, KnownUser], user_key: object, at: datetime) -> KnownUser | None:
    """A key that was given since the restore is another user's."""
    user = known.get(user_key) if isinstance(user_key, int) else None
    return user if user is not None and user.created_at <= at else None


def _time_of(line: Mapping[str, Any]) -> datetime:
    """Now, where the line does not say: then nothing that the database knows was at that time."""
    try:
        at = datetime.fromisoformat(str(line.get("timestamp")))
    except ValueError:
        return datetime.now(UTC)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
