"""`catalog plan`: what applying a file would change, computed for every user and written nowhere."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Broken
from domain.flows.gather_facts import gather_facts
from domain.flows.read_catalog import Head, find_head, find_successor
from domain.model import EntitlementSet, Facts
from domain.rules.catalog import Catalog, is_same_content
from domain.rules.catalog.diff import NounChange, diff_catalogs
from domain.rules.entitlements import compute
from domain.rules.impact import Effect, FeatureEffect, compare_sets
from domain.store import users
from domain.store.session import Connection
from domain.store.users import UserRow
from domain.telemetry import get_logger

log = get_logger()

#: Users read per page: a second of work between two steps of a progress bar.
PAGE = 500

#: What is wrong with one user's rows is theirs alone; anything else, such as Postgres, ends the plan.
UNREADABLE = (Broken, msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError)

#: What may take something from somebody: a set that gives another string for one it gave is `OTHER`.
TAKING = frozenset({Effect.LOSE, Effect.LESS, Effect.OTHER})

OnProgress = Callable[[int, int], None]


class Counts(Struct, kw_only=True):
    """Users by what happens to them. One who gains something and loses something else counts in both."""

    gain: int = 0
    lose: int = 0
    more: int = 0
    less: int = 0
    other: int = 0
    unchanged: int = 0


class PlannedUser(Struct, frozen=True, kw_only=True):
    project: str
    user_id: str
    effects: tuple[FeatureEffect, ...]


class PlannedProject(Struct, frozen=True, kw_only=True):
    project: str
    #: The version in force; None: none was ever applied.
    version: int | None
    is_changed: bool
    catalog: tuple[NounChange, ...]
    #: Users of the project; 0 where nothing changes, because nobody was asked about.
    users: int
    total: Counts
    #: By key: every feature for which somebody's access changes.
    features: dict[str, Counts]
    #: Users whose facts cannot be read or computed: what becomes of them is unknown.
    unreadable: tuple[str, ...]


class CatalogPlan(Struct, frozen=True, kw_only=True):
    #: The instant for which access was compared; users on a test clock at their own.
    as_of: datetime
    projects: tuple[PlannedProject, ...]
    #: Users whose access changes, those who lose something first.
    users: tuple[PlannedUser, ...]
    #: How many more there are than `users` lists.
    more_users: int

    @property
    def is_changed(self) -> bool:
        return any(project.is_changed for project in self.projects)

    @property
    def takes_away(self) -> bool:
        """Whether anybody may lose something: also what is neither less nor more, see `TAKING`."""
        totals = [project.total for project in self.projects]
        return any(total.lose or total.less or total.other for total in totals)


async def plan_catalog(
    context: Context, given: Mapping[str, Catalog], *, list_at_most: int, on_progress: OnProgress
) -> CatalogPlan:
    """Compare the head and `given` for every user of the projects that change.

    Everything is read from one snapshot, so the numbers belong to one moment; it takes no lock and blocks
    nobody, except for a migration, which waits. `on_progress(done, total)` is told per page, over all
    projects.

    Raises:
        Unavailable: Postgres is away.
    """
    listed = _Listed(list_at_most)
    async with context.database.snapshot() as connection:
        now = await context.now(connection)
        changes = [await _find_change(connection, given[project], now) for project in sorted(given)]
        totals = {change.project: await _count_users(connection, change) for change in changes}
        progress = _Progress(sum(totals.values()), on_progress)
        projects = [await _plan_project(connection, change, now, listed, progress) for change in changes]
    return CatalogPlan(
        as_of=now, projects=tuple(projects), users=listed.users(), more_users=listed.count_more()
    )


class _Change(Struct, frozen=True):
    """A project's head and its successor; None: no version yet."""

    project: str
    head: Head | None
    new: Catalog

    @property
    def is_changed(self) -> bool:
        return self.head is None or not is_same_content(self.head.catalog, self.new)


class _Progress:
    def __init__(self, total: int, tell: OnProgress) -> None:
        self._total, self._done, self._tell = total, 0, tell

    def add(self, done: int) -> None:
        self._done += done
        self._tell(self._done, self._total)


class _Listed:
    """The first users of both kinds: those who lose something, and all others."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._losing: list[PlannedUser] = []
        self._others: list[PlannedUser] = []
        self._seen = 0

    def add(self, user: PlannedUser) -> None:
        self._seen += 1
        loses = any(one.effect in TAKING for one in user.effects)
        kept = self._losing if loses else self._others
        if len(kept) < self._at_most:
            kept.append(user)

    def users(self) -> tuple[PlannedUser, ...]:
        return tuple([*self._losing, *self._others][: self._at_most])

    def count_more(self) -> int:
        return self._seen - len(self.users())


async def _find_change(connection: Connection, catalog: Catalog, now: datetime) -> _Change:
    head = await find_head(connection, catalog.project)
    new = catalog if head is None else await find_successor(connection, head, catalog, now)
    return _Change(catalog.project, head, new)


async def _count_users(connection: Connection, change: _Change) -> int:
    return await users.count_users(connection, change.project) if change.is_changed else 0


async def _plan_project(
    connection: Connection, change: _Change, now: datetime, listed: _Listed, progress: _Progress
) -> PlannedProject:
    tally = _Tally()
    if change.is_changed:
        async for page in _pages(connection, change.project):
            for user in page:
                await _plan_user(connection, change, user, now, tally, listed)
            progress.add(len(page))
    return PlannedProject(
        project=change.project,
        version=change.head.version if change.head is not None else None,
        is_changed=change.is_changed,
        catalog=diff_catalogs(change.head.catalog if change.head is not None else None, change.new),
        users=tally.users,
        total=tally.total(),
        features=tally.features(),
        unreadable=tuple(tally.unreadable),
    )


async def _pages(connection: Connection, project: str) -> AsyncIterator[list[UserRow]]:
    after = 0
    while page := await users.list_users(connection, project, after, PAGE):
        yield page
        after = page[-1].user_key


async def _plan_user(
    connection: Connection, change: _Change, user: UserRow, now: datetime, tally: "_Tally", listed: _Listed
) -> None:
    try:
        facts = await gather_facts(connection, change.project, user.user_key)
        effects = _effects(change, facts, user.clock_at or now)
    except UNREADABLE as error:
        log.warning("plan_user_unreadable", user_key=user.user_key, error=type(error).__name__)
        tally.add_unreadable(user.user_id)
        return
    tally.add(effects)
    if effects:
        listed.add(PlannedUser(project=change.project, user_id=user.user_id, effects=effects))


def _effects(change: _Change, facts: Facts, at: datetime) -> tuple[FeatureEffect, ...]:
    old = change.head.catalog if change.head is not None else None
    apps = sorted({*change.new.apps, *(old.apps if old is not None else ())})
    return tuple(
        effect
        for app in apps
        for effect in compare_sets(
            app, _answers(facts, old, app, at), _answers(facts, change.new, app, at), change.new
        )
    )


def _answers(facts: Facts, catalog: Catalog | None, app: str, at: datetime) -> EntitlementSet:
    """{} where the catalog has no such app: nobody gets an answer there."""
    return compute(facts, catalog, app, at) if catalog is not None and app in catalog.apps else {}


class _Tally:
    """Users counted by what happens to them, in all and by feature."""

    def __init__(self) -> None:
        self.users = 0
        #: The first ones, by the project's own ids; all are in the log.
        self.unreadable: list[str] = []
        self._affected = 0
        self._computed = 0
        self._total: Counter[Effect] = Counter()
        self._by_feature: dict[str, Counter[Effect]] = {}
        self._touched: Counter[str] = Counter()

    def add(self, effects: tuple[FeatureEffect, ...]) -> None:
        """Several apps that see the same change of one feature are one change."""
        self.users += 1
        self._computed += 1
        self._affected += bool(effects)
        self._total.update({one.effect for one in effects})
        for feature, effect in {(one.feature, one.effect) for one in effects}:
            self._by_feature.setdefault(feature, Counter())[effect] += 1
        self._touched.update({one.feature for one in effects})

    def add_unreadable(self, user_id: str) -> None:
        self.users += 1
        self.unreadable.append(user_id)

    def total(self) -> Counts:
        return _counts(self._total, self._computed - self._affected)

    def features(self) -> dict[str, Counts]:
        return {
            feature: _counts(effects, self._computed - self._touched[feature])
            for feature, effects in sorted(self._by_feature.items())
        }


def _counts(effects: Mapping[Effect, int], unchanged: int) -> Counts:
    return Counts(**{effect.value: count for effect, count in effects.items()}, unchanged=unchanged)
