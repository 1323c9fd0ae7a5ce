"""Compare what an older system answered with what apps read here, before they are pointed here."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.context import Context
from domain.flows.backfill.mapping import refuse_lines
from domain.flows.grant import require_head
from domain.flows.read_catalog import Head
from domain.model import Entitlement, Facts
from domain.rules.answer_list import OldAnswer, read_answers
from domain.rules.entitlements import compute
from domain.rules.timeline import decode_timeline, segment_at
from domain.store import compared_answers
from domain.store.compared_answers import AnsweredUser
from domain.store.session import Connection

#: Users of one question to Postgres.
BATCH = 500


class Difference(Struct, frozen=True, kw_only=True):
    #: Of the file.
    line: int
    user_id: str
    feature: str
    app: str
    #: What the older system says.
    theirs: bool
    ours: bool
    #: Why we say so.
    reason: str
    #: Nothing here knows the user: no customer of theirs was linked.
    is_unknown: bool


class Comparison(Struct, frozen=True, kw_only=True):
    project: str
    #: Lines of the file.
    answers: int
    users: int
    #: Of those, nobody here.
    unknown_users: int
    differences: tuple[Difference, ...]


async def compare(context: Context, project: str, lines: Sequence[str]) -> Comparison:
    """Every line, for each app that sees its feature; what is answered now, and nothing is changed.

    Raises:
        Unknown: there is no such project.
        Invalid: lines that cannot be, by their numbers.
        Unavailable: Postgres is away.
    """
    async with context.database.connection() as connection:
        head = await require_head(connection, project)
        read = read_answers(lines, list(head.catalog.features))
        refuse_lines(read.faults, "nothing was compared")
        user_ids = sorted({one.user_id for one in read.answers})
        users: dict[str, AnsweredUser] = {}
        for first in range(0, len(user_ids), BATCH):
            users |= await compared_answers.find_users(connection, project, user_ids[first : first + BATCH])
        now = await context.now(connection)
        differences = await _differences(connection, head, project, read.answers, users, now)
    return Comparison(
        project=project,
        answers=len(read.answers),
        users=len(user_ids),
        unknown_users=len(user_ids) - len(users),
        differences=tuple(differences),
    )


async def _differences(
    connection: Connection,
    head: Head,
    project: str,
    answers: Sequence[OldAnswer],
    users: dict[str, AnsweredUser],
    now: datetime,
) -> list[Difference]:
    found = []
    defaults = {app: compute(Facts(), head.catalog, app, now) for app in sorted(head.catalog.apps)}
    ordered = sorted(answers, key=lambda one: (one.user_id, one.line))
    for first in range(0, len(ordered), BATCH):
        some = ordered[first : first + BATCH]
        keys = sorted({users[one.user_id].user_key for one in some if one.user_id in users})
        stored = await compared_answers.find_timelines(connection, project, keys)
        for one in some:
            user = users.get(one.user_id)
            for app, default in defaults.items():
                timeline = stored.get((user.user_key, app)) if user is not None else None
                at = user.clock_at or now if user is not None else now
                answer = segment_at(decode_timeline(timeline), at)[1].entitlements if timeline else default
                if one.feature in answer and answer[one.feature].granted != one.granted:
                    found.append(_difference(one, app, answer[one.feature], is_unknown=user is None))
    return sorted(found, key=lambda one: (one.line, one.app))


def _difference(one: OldAnswer, app: str, ours: Entitlement, *, is_unknown: bool) -> Difference:
    return Difference(
        line=one.line,
        user_id=one.user_id,
        feature=one.feature,
        app=app,
        theirs=one.granted,
        ours=ours.granted,
        reason=str(ours.reason),
        is_unknown=is_unknown,
    )
