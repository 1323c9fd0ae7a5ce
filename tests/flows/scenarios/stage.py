"""Where a scenario plays: it acts as customers, banks and the dashboard do, and says what apps must be told.

Every step's events go through the real receiver and the real worker, in the way that the run's mode says.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from deploy.local.stripe_simulator.store import Json
from domain.flows.adopt import adopt
from domain.flows.lookup import Lookup
from domain.flows.record_action import Operator
from domain.rules.answer import answer_at
from tests.flows.event_path import EventPath
from tests.flows.scenarios.finale import Finale, Person, gathered
from tests.flows.scenarios.modes import Mode

#: When a test clock begins where a scenario says nothing else: 31 days of January, 28 of February.
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
FEBRUARY, MARCH = NEW_YEAR + 31 * DAY, NEW_YEAR + 59 * DAY
#: Stripe finalizes and charges a renewal's invoice an hour after the period began.
FIRST_ATTEMPT = FEBRUARY + HOUR
CLOCK_READY = "test_helpers.test_clock.ready"
#: Stripe's limit.
CUSTOMERS_OF_A_CLOCK = 3
GOOD_CARD, BAD_CARD = "pm_card_visa", "pm_card_chargeCustomerFail"

Said = dict[str, Any]


def yes(reason: str, value: Any = True, *, until: datetime | None = None, flags: Sequence[str] = ()) -> Said:  # noqa: FBT002 - a feature's value
    """Granted, until an instant (None: no end is known)."""
    said: Said = {"granted": True, "reason": reason, "value": value, "ends_at": until}
    return {**said, "flags": list(flags)}


def no(reason: str) -> Said:
    return {"granted": False, "reason": reason, "ends_at": None, "flags": []}


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    #: How much had been done when it was said.
    after: int
    person: Person
    app: str
    #: None: the answer of the present.
    at: datetime | None
    said: dict[str, Said]


class Stage:
    """One deployment, one Stripe account whose time is ours, and its people."""

    def __init__(self, path: EventPath, mode: Mode) -> None:
        self.path = path
        self.stripe = path.stripe
        self.mode = mode
        self.lookup = Lookup(path.context)
        self.people: list[Person] = []
        #: What the clocks show that are made from now on.
        self.begins_at = NEW_YEAR
        self._clocks: list[str] = []
        self._delivered = 0
        self._adopted = 0
        self._said: list[Expectation] = []

    # ── people, time, and what is done at Stripe ──

    async def person(self, user_id: str = "u_1", project: str = "acme", *, card: str | None = None) -> Person:
        """A linked customer on the clock; with a card, one who can be charged without a checkout."""
        customer = await self.path.make_customer(user_id, project, test_clock=await self._clock())
        if card is not None:
            await self.stripe.change_card(customer, card)
        person = Person(user_id, customer, project)
        self.people.append(person)
        return person

    async def stranger(self, user_id: str = "u_1") -> Person:
        """Somebody whom the dashboard made; `adopt` makes them this user."""
        person = Person(user_id, await self.path.make_stripe_customer(test_clock=await self._clock()))
        self.people.append(person)
        return person

    async def adopt(self, person: Person) -> None:
        self._adopted += 1
        operator = Operator(actor="cli:scenario")
        await adopt(
            self.path.context, person.customer, person.project, person.user_id, operator, reason="imported"
        )

    async def advance(self, to: datetime) -> None:
        for clock in self._clocks:
            await self.stripe.advance(clock, int(to.timestamp()))

    async def _clock(self) -> str:
        """A clock with room for one more customer."""
        if len(self.people) % CUSTOMERS_OF_A_CLOCK == 0:
            begins = int(self.begins_at.timestamp())
            made = await self.post("/v1/test_helpers/test_clocks", frozen_time=begins)
            self._clocks.append(made["id"])
        return self._clocks[-1]

    async def post(self, path: str, **params: Any) -> Json:
        return await self.path.create(path, params)

    async def read(self, path: str) -> Json:
        return await self.path.retrieve(path)

    async def delete(self, path: str) -> None:
        await self.path.delete(path)

    async def open_checkout(self, person: Person, *prices: str, **params: Any) -> str:
        """The id of an open session for one of each price."""
        rows = [self.stripe.account.load("price", price) for price in prices]
        is_recurring = any(row["recurring"] for row in rows)
        made = await self.post(
            "/v1/checkout/sessions",
            mode="subscription" if is_recurring else "payment",
            customer=person.customer,
            line_items=[{"price": price, "quantity": 1} for price in prices],
            success_url="http://localhost:3000/ok",
            **params,
        )
        return str(made["id"])

    async def buy(self, person: Person, *prices: str, **params: Any) -> Json:
        """Open a checkout and pay by card; the session as it is then."""
        session_id = await self.open_checkout(person, *prices, **params)
        await self.stripe.pay(session_id)
        return await self.read(f"/v1/checkout/sessions/{session_id}")

    async def subscribe(self, person: Person, *prices: str, **params: Any) -> str:
        """A subscription made by a checkout; its id."""
        return str((await self.buy(person, *prices, **params))["subscription"])

    async def change(self, subscription: str, **params: Any) -> Json:
        return await self.post(f"/v1/subscriptions/{subscription}", **params)

    async def switch(self, subscription: str, price: str, **params: Any) -> Json:
        """Another price for the one item of a subscription."""
        (item,) = (await self.read(f"/v1/subscriptions/{subscription}"))["items"]["data"]
        return await self.change(subscription, items=[{"id": item["id"], "price": price}], **params)

    # ── what an app must be told ──

    async def expects(
        self, person: Person, *, app: str = "editor", at: datetime | None = None, **said: Said
    ) -> None:
        """The answers for these features: now, or as already stored for a later instant.

        Where everything is late only what is said after the last event can hold, and is checked at the end.
        """
        expectation = Expectation(after=self._happened(), person=person, app=app, at=at, said=said)
        self._said.append(expectation)
        if not self.mode.is_late:
            await self._deliver()
            await self._check(expectation)

    async def settle(self) -> None:
        """The end: whatever arrived in whatever order, apps are told what the oracle reads in the books."""
        await self._deliver()
        last = [one for one in self._said if one.after == self._happened()]
        assert last, "nothing is said of the end"
        for expectation in last:
            await self._check(expectation)
        await Finale(self.path, self.people).judge()

    async def _deliver(self) -> None:
        """What happened since, in the mode's way.

        Where a step's events come before the next step's, a moved clock is told of last: it has everything
        read again, which must find nothing that the other events had not told.
        """
        events = list(self.stripe.account.rows.get("event", {}).values())[self._delivered :]
        self._delivered += len(events)
        moved = [] if self.mode.is_late else [event for event in events if event["type"] == CLOCK_READY]
        await self._arrive([event for event in events if event not in moved])
        if moved:
            told = await gathered(self.path, self.people)
            await self._arrive(moved)
            assert await gathered(self.path, self.people) == told, "its events did not tell all of this step"

    async def _arrive(self, events: list[Json]) -> None:
        for body in self.mode.deliveries(self.stripe.account, events):
            await self.path.deliver_bytes(body)
        await self.path.drain()

    def _happened(self) -> int:
        """How much has been done: at Stripe, which always makes an event, or by an operator."""
        return len(self.stripe.account.rows.get("event", {})) + self._adopted

    async def _check(self, expectation: Expectation) -> None:
        person, app, at = expectation.person, expectation.app, expectation.at
        answers = await self.answers(person, app, at)
        told = {feature: _in_words(answers[feature]) for feature in expectation.said}
        said = {name: {"value": told[name]["value"], **words} for name, words in expectation.said.items()}
        assert told == said, f"{person.user_id} in {app} at {at or 'present'}"

    async def answers(self, person: Person, app: str, at: datetime | None = None) -> dict[str, Any]:
        """What the read API answers now; or what is stored for `at`, however late the worker will be."""
        if at is None:
            found = await self.lookup.find(person.project, app, person.user_id)
        else:
            stored = await self.path.stored(person.user_id, app, person.project)
            assert stored is not None, f"nothing is stored for {person.user_id} in {app}"
            found = answer_at(msgspec.structs.replace(stored, clock_at=None), person.user_id, at)
        answers: dict[str, Any] = msgspec.json.decode(found.body)["entitlements"]
        return answers


def _in_words(answer: dict[str, Any]) -> Said:
    ends_at = answer.get("ends_at")
    return {
        "granted": answer["granted"],
        "reason": answer["reason"],
        "value": answer["value"],
        "ends_at": None if ends_at is None else datetime.fromisoformat(ends_at),
        "flags": answer.get("flags", []),
    }
