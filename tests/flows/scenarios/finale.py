"""How every scenario ends: nothing is owed, nothing is left to find, and apps are told what the books say."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.flows.read_catalog import find_head
from domain.flows.record_action import Operator
from domain.flows.repair import repair_user
from domain.flows.sweep import fire_timers
from domain.model import EntitlementSet, Facts
from domain.rules.catalog import Catalog
from tests.flows.event_path import EventPath
from tests.flows.scenarios.books import prices_of, read_rows
from tests.unit.rules.oracle import expected


class Person(msgspec.Struct, frozen=True):
    """A user of a project, and a customer that Stripe knows them by."""

    user_id: str
    customer: str
    project: str = "acme"


async def gathered(path: EventPath, people: Sequence[Person]) -> dict[Person, Facts]:
    """What the mirror says of each."""
    return {person: await path.facts(person.user_id, person.project) for person in people}


class Finale:
    """The judgement over one deployment after all events have arrived."""

    def __init__(self, path: EventPath, people: Sequence[Person]) -> None:
        self._path = path
        self._people = people

    async def judge(self) -> None:
        await self._owes_nothing()
        for person in self._people:
            await self._compare(person)
        told = await gathered(self._path, self._people), await self._versions()
        await self._look_again()
        assert (await gathered(self._path, self._people), await self._versions()) == told, (
            "what was read again was not what the events had told"
        )
        await self._owes_nothing()

    async def _owes_nothing(self) -> None:
        assert await self._path.count_owed() == 0
        assert (await self._path.states()).keys() <= {"processed", "ignored", "foreign"}
        unwell = [target for target in await self._path.targets() if target["state"] != "active"]
        assert unwell == []

    async def _look_again(self) -> None:
        """Whatever waits to be read again is, and then everything of everybody, as an operator would."""
        for _ in range(5):
            await self._path.make_due("recheck")
            if not await fire_timers(self._path.context):
                break
            await self._path.drain()
        operator = Operator(actor="cli:scenario")
        for person in self._people:
            repaired = await repair_user(self._path.context, person.project, person.user_id, operator)
            assert repaired.changed == ()
        await self._path.drain()

    async def _compare(self, person: Person) -> None:
        """Every stored segment from now on, and the cached copy, against the oracle."""
        catalog = await self._catalog(person.project)
        facts = self._facts_in_the_books(person)
        for app in catalog.apps:
            stored = await self._path.stored(person.user_id, app, person.project)
            assert stored is not None, f"nothing is stored for {person.user_id} in {app}"
            assert await self._path.cached(person.user_id, app, person.project) == stored
            present = stored.clock_at or datetime.now(UTC)
            for segment in stored.segments:
                if segment.ends_at is not None and segment.ends_at <= present:
                    continue
                at = max(segment.begins_at, present)
                told = msgspec.json.decode(bytes(segment.entitlements))
                assert told == _as_json(expected(facts, catalog, app, at)), f"{person} in {app} at {at}"

    def _facts_in_the_books(self, person: Person) -> Facts:
        of_user = (person.user_id, person.project)
        customers = {one.customer for one in self._people if (one.user_id, one.project) == of_user}
        account = self._path.stripe.account
        return read_rows(account).facts(customers, prices_of(account, person.project))

    async def _catalog(self, project: str) -> Catalog:
        async with self._path.context.database.connection() as connection:
            head = await find_head(connection, project)
        assert head is not None
        return head.catalog

    async def _versions(self) -> list[dict[str, Any]]:
        return await self._path.rows("SELECT user_key, app, last_version FROM entitlements ORDER BY 1, 2")


def _as_json(answers: EntitlementSet) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answers))
    return decoded
