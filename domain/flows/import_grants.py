"""Import grants: a file of an operator becomes grants, each once, however often and wherever it is stopped.

Everything is judged before anything is written. Then each user's lines are one transaction: rows, one audit
row each, one recompute. A line's key is the batch's with its words, so that a run after a killed one makes
what is missing and nothing else; so does a run of the same batch after lines were added, moved or removed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from msgspec import Struct

from domain.context import Context
from domain.errors import FieldError, Invalid
from domain.flows.grant import refuse_impossible_user, require_head
from domain.flows.make_user import erased_names, lock_or_make_user, user_erased
from domain.flows.read_catalog import Head
from domain.flows.recompute import before_commit, publish
from domain.flows.record_action import Operator
from domain.flows.write_grants import digest_of, new_grant, new_grant_id, write_grants
from domain.rules.grant_file import GrantFile, WishedLine, fault, read_grant_file, read_value
from domain.rules.new_grant import judge_grant
from domain.rules.outranked import describe_outranking
from domain.store import customers, erased, grants, users
from domain.store.customers import LockedUser
from domain.store.grants import KeyedGrant, NewGrant
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = [
    "BATCH_LENGTH",
    "GrantFile",
    "Imported",
    "Operator",
    "import_grants",
    "read_grant_file",
    "read_value",
]

log = get_logger()

Item = TypeVar("Item")

#: Lines of one user in one transaction: its lock is held for as long.
AT_ONCE = 500
#: Characters of a batch's key.
BATCH_LENGTH = 100
#: Of the hash of a line's words: enough that no two lines share them.
KEY_DIGITS = 48
#: Keys and users asked for in one statement of the check.
PER_QUESTION = 1000

#: Told how many of how many lines are done.
Show = Callable[[int, int], None]


class MadeGrant(Struct, frozen=True, kw_only=True):
    line: int
    #: gr_….
    id: str
    #: Why it does not count now, and what to revoke; None: it counts.
    hint: str | None


class KeptGrant(Struct, frozen=True, kw_only=True):
    line: int
    id: str
    #: active, scheduled, expired or revoked: what is over is not given again.
    state: str


class Imported(Struct, frozen=True, kw_only=True):
    project: str
    #: The same file under the same batch makes nothing twice.
    batch: str
    lines: int
    users: int
    created: tuple[MadeGrant, ...]
    already_there: tuple[KeptGrant, ...]
    #: The cache has the new answers. False: a reader may say for ten seconds what it remembers.
    is_published: bool


class _Written(Struct, frozen=True, kw_only=True):
    """What became of lines of one user."""

    made: list[MadeGrant]
    #: Another run of the batch was faster.
    kept: list[KeptGrant]
    #: The cache has the answers.
    is_published: bool = True


class Checked(Struct, frozen=True, kw_only=True):
    """A file without faults: what is there, and what is to be made."""

    kept: dict[int, KeptGrant]
    missing: tuple[WishedLine, ...]


async def import_grants(
    context: Context,
    project: str,
    file: GrantFile,
    operator: Operator,
    *,
    batch: str,
    show: Show = lambda _done, _total: None,
    at_once: int = AT_ONCE,
) -> Imported:
    """Make the grants of a file that its batch has not made yet; `at_once`: of one user in one transaction.

    Raises:
        Unknown: there is no such project.
        Invalid: `errors` name every line that cannot be, and nothing was written; or a catalog was applied
            meanwhile that no longer takes a line: those before it are written.
        Unavailable: Postgres is away; the same call goes on where this one ended.
    """
    async with context.database.connection() as connection:
        checked = await check_file(context, connection, project, file, batch)
    made: list[MadeGrant] = []
    kept = list(checked.kept.values())
    is_published = True
    done = len(kept)
    show(done, file.rows)
    for lines in _turns(checked.missing, at_once):
        written = await _write_user(context, project, lines, operator, batch)
        made += written.made
        kept += written.kept
        is_published &= written.is_published
        done += len(lines)
        show(done, file.rows)
        await context.faults.reach("import.committed", str(lines[0].line))
    log.info("grants_imported", project=project, batch=batch, created=len(made), kept=len(kept))
    return Imported(
        project=project,
        batch=batch,
        lines=file.rows,
        users=len({one.user_id for one in file.lines}),
        created=tuple(sorted(made, key=lambda one: one.line)),
        already_there=tuple(sorted(kept, key=lambda one: one.line)),
        is_published=is_published,
    )


async def check_file(
    context: Context, connection: Connection, project: str, file: GrantFile, batch: str
) -> Checked:
    """Judge every line as it would be made now.

    Raises:
        Unknown: there is no such project. Invalid: `errors` name every line that cannot be.
    """
    head = await require_head(connection, project)
    now = await context.now(connection)
    keyed = await _find_keyed(connection, project, file, batch, now)
    kept = {one.line: one for one in _kept(keyed, file.lines, batch)}
    missing = tuple(one for one in file.lines if one.line not in kept)
    known = await _find_users(context, connection, project, missing)
    faults = [*file.faults, *(one for line in missing for one in _faults(head, line, known, now))]
    if faults or not file.rows:
        raise _refused(file, faults)
    return Checked(kept=kept, missing=missing)


def _kept(keyed: Mapping[str, KeyedGrant], lines: Sequence[WishedLine], batch: str) -> list[KeptGrant]:
    return [
        KeptGrant(line=one.line, id=found.row.grant.grant_id, state=found.row.state)
        for one in lines
        if (found := keyed.get(key_of(batch, one))) is not None
    ]


def key_of(batch: str, line: WishedLine) -> str:
    """Of the whole project, so that a user's merge or another name changes nothing."""
    return f"import:{batch}:{digest_of(line.user_id, line.wish).hex()[:KEY_DIGITS]}"


def by_user(lines: Sequence[WishedLine]) -> list[list[WishedLine]]:
    """Lines of one user at a time, in the order of the file."""
    by_id: dict[str, list[WishedLine]] = {}
    for one in lines:
        by_id.setdefault(one.user_id, []).append(one)
    return list(by_id.values())


def _turns(lines: Sequence[WishedLine], at_once: int) -> Iterator[list[WishedLine]]:
    for own in by_user(lines):
        yield from _parts(own, at_once)


async def _write_user(
    context: Context, project: str, lines: Sequence[WishedLine], operator: Operator, batch: str
) -> _Written:
    """One transaction under the user's lock."""
    user_id = lines[0].user_id
    async with context.database.transaction() as connection:
        head = await require_head(connection, project)
        user_key = await lock_or_make_user(context, connection, project, user_id)
        user = await customers.lock_user(connection, user_key)
        now = user.clock_at or await context.now(connection)
        # Another run of the same batch may have been faster.
        keys = [key_of(batch, one) for one in lines]
        there = await grants.list_keyed(connection, project, keys, now)
        kept = _kept(there, lines, batch)
        missing = [one for one in lines if key_of(batch, one) not in there]
        if not missing:
            return _Written(made=[], kept=kept)
        # Made in one instant, they are as old as their ids: in the order of the file.
        ids = sorted(new_grant_id() for _ in missing)
        new = [
            _new(head, user, one, operator, now, batch, grant_id)
            for one, grant_id in zip(missing, ids, strict=True)
        ]
        written = await write_grants(
            context, connection, head, new, user_id=user_id, operator=operator, now=now, batch=batch
        )
        read_at = before_commit()
    is_published = await publish(context, [written.recomputed], read_at)
    for row in new:
        log.info("grant_created", grant_id=row.grant.grant_id, user_key=user_key, effect=row.grant.effect)
    made = [
        MadeGrant(line=one.line, id=grant_id, hint=describe_outranking(written.outranked_by[grant_id]))
        for one, grant_id in zip(missing, ids, strict=True)
    ]
    return _Written(made=made, kept=kept, is_published=is_published)


def _new(
    head: Head,
    user: LockedUser,
    line: WishedLine,
    operator: Operator,
    now: datetime,
    batch: str,
    grant_id: str,
) -> NewGrant:
    try:
        return new_grant(
            head, user, line.wish, operator, now, idempotency_key=key_of(batch, line), grant_id=grant_id
        )
    except Invalid as error:
        raise Invalid(
            f"Line {line.line} could be granted when the import began, and no longer: lines of other users "
            "before it are written. Correct the file or the catalog; the same command makes what is missing.",
            code="grant_invalid",
            errors=tuple(_placed(line, error)),
        ) from error


# ── what cannot be ──────────────────────────────────────────────────────────────────────────────────


def _faults(head: Head, line: WishedLine, known: "_Known", now: datetime) -> list[FieldError]:
    faults: list[FieldError] = []
    try:
        refuse_impossible_user(line.user_id)
    except Invalid as error:
        faults += _placed(line, error)
    if line.user_id in known.erased:
        faults.append(fault(line.line, "user_id", user_erased().detail))
    try:
        judge_grant(head.catalog, line.wish, grant_id="", now=known.clocks.get(line.user_id) or now)
    except Invalid as error:
        faults += _placed(line, error)
    return faults


def _placed(line: WishedLine, error: Invalid) -> list[FieldError]:
    return [fault(line.line, one["field"].partition(".")[0], one["detail"]) for one in error.errors]


def _refused(file: GrantFile, faults: Sequence[FieldError]) -> Invalid:
    if not faults:
        return Invalid("The file has no line to import: its first line names the columns, then come grants.")
    # Of a header, or a file that could not be read on, there is no line that could be counted.
    wrong = len({one["field"].partition(",")[0] for one in faults})
    said = f"{wrong} of its {file.rows} lines are refused" if file.rows else "the file cannot be read"
    return Invalid(
        f"Nothing was imported: {said}.",
        code="grant_invalid",
        errors=tuple(sorted(faults, key=_line_of)),
    )


def _line_of(one: FieldError) -> int:
    number = one["field"].partition(",")[0].rpartition(" ")[2]
    return int(number) if number.isdigit() else 0


# ── what is known ───────────────────────────────────────────────────────────────────────────────────


async def _find_keyed(
    connection: Connection, project: str, file: GrantFile, batch: str, now: datetime
) -> Mapping[str, KeyedGrant]:
    found: dict[str, KeyedGrant] = {}
    for part in _parts([key_of(batch, one) for one in file.lines], PER_QUESTION):
        found |= await grants.list_keyed(connection, project, part, now)
    return found


class _Known(Struct, frozen=True):
    #: By user_id, of those who are on a Stripe test clock: its time.
    clocks: dict[str, datetime]
    erased: set[str]


async def _find_users(
    context: Context, connection: Connection, project: str, lines: Sequence[WishedLine]
) -> _Known:
    known = _Known({}, set())
    # Postgres cannot hold NUL, so nobody is named like that.
    for part in _parts(sorted({one.user_id for one in lines if "\0" not in one.user_id}), PER_QUESTION):
        known.clocks.update(await users.list_clocks(connection, project, part))
        names = {user_id: [user_id, *erased_names(context.settings, project, user_id)] for user_id in part}
        if await erased.is_erased(connection, project, [name for own in names.values() for name in own]):
            known.erased.update(
                [one for one, own in names.items() if await erased.is_erased(connection, project, own)]
            )
    return known


def _parts(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
