"""What an import of grants would change: computed from the facts as they are, nothing is written."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.import_grants import KeptGrant, Show, by_user, check_file
from domain.model import Entitlement, EntitlementSet, Facts, Grant, GrantEffect
from domain.rules.catalog import Catalog
from domain.rules.changes import list_changed
from domain.rules.entitlements import evaluate
from domain.rules.grant import grant_source
from domain.rules.grant_file import GrantFile, WishedLine
from domain.rules.moment import read_sources
from domain.rules.new_grant import judge_grant
from domain.rules.outranked import describe_outranking, list_outranking
from domain.rules.sources import seniority
from domain.store import customers
from domain.store.session import Connection

__all__ = ["GrantPreview", "PreviewedLine", "preview_grants"]


class AnswerChange(Struct, frozen=True, kw_only=True):
    app: str
    feature: str
    before: Entitlement
    after: Entitlement


class PreviewedLine(Struct, frozen=True, kw_only=True):
    line: int
    user_id: str
    effect: GrantEffect
    #: Kind → key.
    target: dict[str, str]
    #: When it would begin to count.
    at: datetime
    #: Answers that would be others from then on, after the lines of the same user before it.
    changes: tuple[AnswerChange, ...]
    #: Which grants keep it from counting; None: none does.
    hint: str | None


class GrantPreview(Struct, frozen=True, kw_only=True):
    project: str
    batch: str
    lines: int
    users: int
    would_create: tuple[PreviewedLine, ...]
    already_there: tuple[KeptGrant, ...]


async def preview_grants(
    context: Context,
    project: str,
    file: GrantFile,
    *,
    batch: str,
    show: Show = lambda _done, _total: None,
) -> GrantPreview:
    """As `import_grants` would do, and with its errors; nothing is written."""
    async with context.database.connection() as connection:
        checked = await check_file(context, connection, project, file, batch)
    done = len(checked.kept)
    found: list[PreviewedLine] = []
    for lines in by_user(checked.missing):
        async with context.database.snapshot() as connection:
            found += await _preview_user(context, connection, project, lines)
        done += len(lines)
        show(done, file.rows)
    return GrantPreview(
        project=project,
        batch=batch,
        lines=file.rows,
        users=len({one.user_id for one in file.lines}),
        would_create=tuple(sorted(found, key=lambda one: one.line)),
        already_there=tuple(checked.kept.values()),
    )


async def _preview_user(
    context: Context, connection: Connection, project: str, lines: Sequence[WishedLine]
) -> list[PreviewedLine]:
    head = await require_head(connection, project)
    user = await customers.find_user(connection, project, lines[0].user_id)
    facts = Facts() if user is None else await gather_facts(connection, project, user.user_key)
    now = (user.clock_at if user is not None else None) or await context.now(connection)
    seen = _Seen(facts, head.catalog)
    return [seen.add(one, now) for one in lines]


class _Seen:
    """One user as it would be after the lines so far; every source is read once, however many follow."""

    def __init__(self, facts: Facts, catalog: Catalog) -> None:
        self._catalog = catalog
        self._grants = list(facts.grants)
        self._sources = {app: read_sources(facts, catalog, app) for app in sorted(catalog.apps)}

    def add(self, line: WishedLine, now: datetime) -> PreviewedLine:
        new = judge_grant(self._catalog, line.wish, grant_id=f"gr_line_{line.line:06}", now=now)
        hint = describe_outranking(list_outranking(new, self._grants, self._catalog))
        at = max(new.starts_at, now)
        self._grants.append(new)
        return PreviewedLine(
            line=line.line,
            user_id=line.user_id,
            effect=new.effect,
            target={new.target_kind: new.target},
            at=at,
            changes=tuple(change for app in self._sources for change in self._grow(app, new, at)),
            hint=hint,
        )

    def _grow(self, app: str, new: Grant, at: datetime) -> list[AnswerChange]:
        before = self._sources[app]
        after = sorted([*before, grant_source(new, self._catalog, app)], key=seniority)
        self._sources[app] = after
        return _changes(
            app, evaluate(before, self._catalog, app, at), evaluate(after, self._catalog, app, at)
        )


def _changes(app: str, before: EntitlementSet, after: EntitlementSet) -> list[AnswerChange]:
    """Of two answers that differ in who gives them only, nobody notices anything."""
    return [
        AnswerChange(app=app, feature=feature, before=before[feature], after=after[feature])
        for feature in list_changed(_without_sources(before), _without_sources(after))
    ]


def _without_sources(answers: EntitlementSet) -> EntitlementSet:
    return {key: msgspec.structs.replace(answer, sources=()) for key, answer in answers.items()}
