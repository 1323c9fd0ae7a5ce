"""What operators see of API keys: everything but a secret."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid, Unknown
from domain.store import api_keys
from domain.store.api_keys import KeyState, ListedKey

__all__ = ["KeyPage", "KeyState", "ListedKey", "list_keys"]

MOST = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KeyPage(Struct, frozen=True, kw_only=True):
    data: list[ListedKey]
    next_cursor: str | None


async def list_keys(
    context: Context,
    *,
    project: str | None = None,
    app: str | None = None,
    with_ended: bool = False,
    cursor: str | None = None,
    limit: int = MOST,
) -> KeyPage:
    """Keys, newest first; `project` and `app` None: of all. `cursor` is the `next_cursor` of the page before.

    Raises:
        Unknown: there is no such app.
        Invalid: a limit outside 1 to 100, a cursor that is none of ours.
    """
    if not 1 <= limit <= MOST:
        raise Invalid("This page cannot be.", errors=(FieldError("limit", f"1 to {MOST}"),))
    before = _read_cursor(cursor) if cursor is not None else None
    async with context.database.connection() as connection:
        if app is not None and (project, app) not in await api_keys.list_apps(connection):
            raise Unknown(f"There is no app {app!r} in the project {project}.", code="unknown_app")
        rows = await api_keys.list_page(
            connection, project, app, with_ended=with_ended, before=before, limit=limit + 1
        )
    page = rows[:limit]
    return KeyPage(data=page, next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None)


def _write_cursor(key: ListedKey) -> str:
    """Microseconds and id: nothing that a URL would have to escape."""
    return f"{(key.created_at - _EPOCH) // timedelta(microseconds=1)}.{key.key_id}"


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    micros, _, key_id = cursor.partition(".")
    try:
        if not (micros.isascii() and micros.isdigit() and key_id and "\0" not in key_id):
            raise ValueError
        return _EPOCH + timedelta(microseconds=int(micros)), key_id
    except (ValueError, OverflowError) as error:
        what = "take the next_cursor of the page before, or leave it out"
        raise Invalid("This is no cursor of this list.", errors=(FieldError("cursor", what),)) from error
