"""The `[[projects.….scenarios]]` tables: what somebody has bought, and what they may then use.

Scenarios are the file's own tests. They are no content of a catalog: they are not stored, and changing them
makes no new version. The format: docs/catalog.md, "Scenarios".
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from domain.model import Facts, Grant, Purchase, Subscription
from domain.rules.catalog.expectations import Expected, read_expected
from domain.rules.catalog.fields import Table, show
from domain.rules.catalog.nouns import Catalog
from domain.rules.catalog.scenario_sources import read_grant, read_purchase, read_subscription

#: The instant of the question where a scenario names none: relative times need no calendar.
DEFAULT_AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_YEAR, LAST_YEAR = 1970, 2999
#: The key that says which kind of source a table of `given` is, with its reader.
KINDS: dict[str, Callable[[Table, Catalog, "Clock", int], Subscription | Purchase | Grant | None]] = {
    "subscription": read_subscription,
    "purchase": read_purchase,
    "grant": read_grant,
}

_RELATIVE = re.compile(r"([+-])(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?")
_WANTED = 'a time from `at` on such as "+7d", "-3d12h" or "-30m", or one such as 2026-03-01T00:00:00Z'


class Scenario(Struct, frozen=True, kw_only=True):
    name: str
    #: Where it stands in the file, such as `projects.acme.scenarios[2]`.
    table: str
    #: When the question is asked, aware UTC.
    at: datetime
    #: The apps that ask, sorted; each is asked for the features it sees.
    apps: tuple[str, ...]
    facts: Facts
    #: By feature key, at least one.
    expect: dict[str, Expected]


class Clock:
    """Reads the times of one scenario: relative ones count from the instant of its question."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def instant(self, table: Table, key: str, default: str | None = None) -> datetime | None:
        """The time under `key`, aware UTC; where it is absent `default`, which may be None for "never"."""
        written = table.raw(key)
        found = self.read(default if written is None else written)
        if found is None and written is not None:
            table.wrong(key, f"is {show(written)}; it must be {_WANTED}")
        return found

    def read(self, written: object) -> datetime | None:
        """None: it is no time, has no offset, or is too far away."""
        try:
            return _near(self._relative(written) if isinstance(written, str) else _absolute(written))
        except OverflowError:
            return None

    def _relative(self, written: str) -> datetime | None:
        found = _RELATIVE.fullmatch(written)
        if found is None or not any(found.groups()[1:]):
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self.at + span if found[1] == "+" else self.at - span


def read_scenarios(project: Table, catalog: Catalog) -> tuple[Scenario, ...]:
    """In the order of the file. Names are different: a failure is named by them."""
    seen: set[str] = set()
    scenarios = []
    for table in project.rows("scenarios"):
        scenario = _read_scenario(table, catalog)
        if scenario.name in seen:
            table.wrong("name", f'is "{scenario.name}" like that of another scenario; give each its own')
        seen.add(scenario.name)
        scenarios.append(scenario)
    return tuple(scenarios)


def _read_scenario(table: Table, catalog: Catalog) -> Scenario:
    clock, expect = Clock(_read_at(table)), table.table("expect")
    apps = _read_apps(table, catalog)
    scenario = Scenario(
        name=table.text("name", None),
        table=table.path,
        at=clock.at,
        apps=apps,
        facts=_read_given(table, catalog, clock),
        expect=read_expected(expect, catalog, apps, clock.read),
    )
    if not expect.names():
        table.wrong("expect", "is missing; say of at least one feature what the answer should be")
    table.close()
    return scenario


def _read_at(table: Table) -> datetime:
    written = table.raw("at")
    if written is None:
        return DEFAULT_AT
    at = _absolute(written)
    if at is None or _near(at) is None:
        table.wrong("at", f"is {show(written)}; it must be a time such as 2026-03-01T00:00:00Z")
        return DEFAULT_AT
    return at


def _near(at: datetime | None) -> datetime | None:
    """None for years in which the rules' own arithmetic, such as adding a grace, could leave the calendar."""
    return at if at is not None and FIRST_YEAR <= at.year <= LAST_YEAR else None


def _absolute(written: object) -> datetime | None:
    """A TOML time with its offset, or a TOML date: its midnight in UTC."""
    if isinstance(written, datetime):
        is_exact = written.tzinfo is not None and FIRST_YEAR <= written.year <= LAST_YEAR
        return written.astimezone(UTC) if is_exact else None
    if isinstance(written, date):
        return datetime(written.year, written.month, written.day, tzinfo=UTC)
    return None


def _read_apps(table: Table, catalog: Catalog) -> tuple[str, ...]:
    app = table.optional_text("app")
    if app is None:
        return tuple(sorted(catalog.apps))
    return table.known("app", [app], catalog.apps, "app")


def _read_given(table: Table, catalog: Catalog, clock: Clock) -> Facts:
    sources = [
        source
        for number, row in enumerate(table.rows("given"), 1)
        if (source := _read_source(row, catalog, clock, number)) is not None
    ]
    return Facts(
        subscriptions=tuple(source for source in sources if isinstance(source, Subscription)),
        purchases=tuple(source for source in sources if isinstance(source, Purchase)),
        grants=tuple(source for source in sources if isinstance(source, Grant)),
    )


def _read_source(
    row: Table, catalog: Catalog, clock: Clock, number: int
) -> Subscription | Purchase | Grant | None:
    kinds = [kind for kind in KINDS if row.has(kind)]
    if len(kinds) != 1:
        row.wrong("", f"must have exactly one of the keys {', '.join(KINDS)}: what kind of source it is")
        return None
    source = KINDS[kinds[0]](row, catalog, clock, number)
    row.close()
    return source
