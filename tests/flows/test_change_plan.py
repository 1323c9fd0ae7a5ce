"""Change, cancel and resume a subscription: what is foreseen is what happens, and nothing happens twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from domain.errors import Conflict, Invalid, Rejected, Unavailable, Unknown
from domain.flows.change_plan import (
    Asked,
    Changed,
    Concluded,
    Preview,
    When,
    cancel_subscription,
    change_subscription,
    resume_subscription,
)
from domain.flows.merge_users import MergeWish, merge_users
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.flows.read_catalog import find_head
from domain.flows.record_action import NOBODY
from domain.flows.show_billing import show_billing
from domain.model import EntitlementSet
from domain.rules.billing import BillingSubscription
from domain.rules.impact import FeatureEffect, compare_sets
from domain.rules.order import Item
from tests.flows.event_path import CATALOG, EventPath
from tests.waiting import until

PRO, TEAM, YEAR = Item("pro", "month"), Item("team", "month"), Item("pro", "year")
Effects = list[tuple[str, str, object, object]]


def extra(quantity: int) -> Item:
    return Item("extra_projects", "month", quantity)


class Payer:
    """A user on a test clock of their own, so that money is exact, with one subscription."""

    def __init__(self, path: EventPath, user_id: str, customer_id: str, clock_id: str) -> None:
        self.path, self.user_id, self.customer_id, self.clock_id = path, user_id, customer_id, clock_id
        self.subscription_id = ""

    async def subscribe(self, *items: Item, **params: Any) -> None:
        wanted = [{"price": f"price_acme.{i.plan}.{i.price}", "quantity": i.quantity} for i in items]
        made = await self.path.create(
            "/v1/subscriptions", {"customer": self.customer_id, "items": wanted, **params}
        )
        self.subscription_id = made["id"]
        await self.sync()

    async def sync(self) -> None:
        await self.path.mark("customer_all", self.customer_id)
        await self.path.drain()

    async def change(self, *items: Item, when: When = "now", preview: bool = False) -> Changed | Preview:
        asked = self.asked(preview=preview)
        return _said(await change_subscription(self.path.context, self.path.syncer, asked, items, when))

    async def cancel(self, when: When, *, preview: bool = False) -> Changed | Preview:
        asked = self.asked(preview=preview)
        return _said(await cancel_subscription(self.path.context, self.path.syncer, asked, when))

    async def resume(self, *, preview: bool = False) -> Changed | Preview:
        asked = self.asked(preview=preview)
        return _said(await resume_subscription(self.path.context, self.path.syncer, asked))

    def asked(self, *, preview: bool = False) -> Asked:
        return Asked(project="acme", app="editor", user_id=self.user_id, group="main", is_preview=preview)

    async def read(self) -> dict[str, Any]:
        return await self.path.retrieve(f"/v1/subscriptions/{self.subscription_id}")

    async def invoices(self) -> list[dict[str, Any]]:
        """Newest first."""
        found = await self.path.retrieve(f"/v1/invoices?subscription={self.subscription_id}&limit=100")
        return list(found["data"])

    async def answers(self) -> EntitlementSet:
        found = await self.path.answer(self.user_id)
        return msgspec.convert(found, EntitlementSet)

    async def at_period_end(self) -> None:
        """Two hours into the next period: drafts are finalized and charged after one."""
        items = (await self.read())["items"]["data"]
        await self.path.stripe.advance(self.clock_id, items[0]["current_period_end"] + 7200)
        await self.sync()


def _said(done: Concluded | Preview) -> Changed | Preview:
    return done if isinstance(done, Preview) else done.changed


@asynccontextmanager
async def paying(path: EventPath, user_id: str, *items: Item, **params: Any) -> AsyncIterator[Payer]:
    clock_id = await path.make_clock()
    customer_id = await path.make_customer(user_id, test_clock=clock_id)
    await path.stripe.change_card(customer_id, "pm_card_visa")
    payer = Payer(path, user_id, customer_id, clock_id)
    await payer.subscribe(*(items or (PRO,)), **params)
    yield payer


async def effects(path: EventPath, before: EntitlementSet, after: EntitlementSet) -> Effects:
    async with path.context.database.connection() as connection:
        head = await find_head(connection, "acme")
    assert head is not None
    return shown(tuple(compare_sets("editor", before, after, head.catalog)))


def shown(found: Sequence[FeatureEffect]) -> Effects:
    return [(one.feature, one.effect.value, one.before.value, one.after.value) for one in found]


def held(subscription: dict[str, Any]) -> dict[str, int]:
    return {
        item["price"]["id"].removeprefix("price_acme."): item["quantity"]
        for item in subscription["items"]["data"]
    }


def named(items: Sequence[Item]) -> dict[str, int]:
    return {f"{item.plan}.{item.price}": item.quantity for item in items}


def gives_other(one: Sequence[Item], other: Sequence[Item]) -> bool:
    """Whether more than the interval differs."""
    return {(item.plan, item.quantity) for item in one} != {(item.plan, item.quantity) for item in other}


NOW: list[tuple[tuple[Item, ...], tuple[Item, ...]]] = [
    ((PRO, extra(2)), (TEAM,)),
    ((TEAM,), (PRO,)),
    ((Item("pro", "month", 2), extra(2)), (Item("pro", "month", 5), extra(1))),
    ((PRO,), (YEAR,)),
    ((PRO,), (PRO, extra(3))),
]


async def test_a_change_now_costs_and_gives_what_its_preview_said(path: EventPath) -> None:
    for number, (before, after) in enumerate(NOW):
        async with paying(path, f"u_now_{number}", *before) as payer:
            await path.advance(payer.clock_id, days=10)
            await payer.sync()
            had, state, invoices = await payer.answers(), await payer.read(), await payer.invoices()
            preview = await payer.change(*after, preview=True)
            assert isinstance(preview, Preview)
            assert (await payer.read(), await payer.invoices()) == (state, invoices), (
                "a preview changes nothing"
            )

            done = await payer.change(*after)
            assert isinstance(done, Changed)
            assert (done.status, done.url, done.settled) == ("changed", None, True)
            assert held(await payer.read()) == named(after)
            [invoice, *older] = await payer.invoices()
            assert older == invoices
            assert (invoice["amount_due"], invoice["status"]) == (preview.due_now_minor, "paid")
            assert max(0, -invoice["total"]) == preview.credit_minor
            assert [line.amount_minor for line in preview.lines] == [
                line["amount"] for line in invoice["lines"]["data"]
            ]
            has = await payer.answers()
            assert shown(preview.entitlements) == await effects(path, had, has)
            assert bool(preview.entitlements) is gives_other(before, after)
            assert shown(done.entitlements.changes) == shown(preview.entitlements)
            stored = await path.stored(payer.user_id)
            assert stored is not None
            assert done.entitlements.version == stored.first_version

            again = await payer.change(*after)
            assert isinstance(again, Changed)
            assert (again.status, again.entitlements.changes) == ("unchanged", ())
            assert len(await payer.invoices()) == len(invoices) + 1

            assert preview.next_invoice is not None
            await payer.at_period_end()
            [renewal, *_] = await payer.invoices()
            assert renewal["total"] == preview.next_invoice.total_minor
            begins = {line["period"]["start"] for line in renewal["lines"]["data"]}
            assert begins == {int(preview.next_invoice.at.timestamp())}


LATER: list[tuple[tuple[Item, ...], tuple[Item, ...]]] = [
    ((Item("pro", "month", 3), extra(2)), (PRO,)),
    ((PRO,), (YEAR,)),
    ((TEAM,), (PRO, extra(1))),
]


async def test_a_change_at_period_end_waits_for_it_and_is_what_its_preview_said(path: EventPath) -> None:
    for number, (before, after) in enumerate(LATER):
        async with paying(path, f"u_later_{number}", *before) as payer:
            had = await payer.answers()
            preview = await payer.change(*after, when="period_end", preview=True)
            assert isinstance(preview, Preview)
            assert (preview.due_now_minor, preview.lines) == (0, ())
            assert (await payer.read())["schedule"] is None

            done = await payer.change(*after, when="period_end")
            assert isinstance(done, Changed)
            assert (done.status, done.entitlements.changes) == ("scheduled", ())
            assert held(await payer.read()) == named(before)
            assert done.subscription is not None
            pending = done.subscription.pending_change
            assert pending is not None
            assert pending.at == preview.effective_at
            assert {f"{i.plan}.{i.price}": i.quantity for i in pending.items} == named(after)
            assert len(await payer.invoices()) == 1
            again = await payer.change(*after, when="period_end")
            assert isinstance(again, Changed)
            assert again.status == "unchanged"

            await payer.at_period_end()
            assert held(await payer.read()) == named(after)
            assert shown(preview.entitlements) == await effects(path, had, await payer.answers())
            assert bool(preview.entitlements) is gives_other(before, after)
            [renewal, *_] = await payer.invoices()
            assert preview.next_invoice is not None
            assert renewal["total"] == preview.next_invoice.total_minor
            assert preview.next_invoice.at == preview.effective_at
            [row] = await path.rows(
                "SELECT scheduled_at FROM subscriptions WHERE stripe_subscription_id = $1",
                payer.subscription_id,
            )
            assert row["scheduled_at"] is None


async def test_what_waits_is_replaced_taken_back_or_overtaken(path: EventPath) -> None:
    async with paying(path, "u_1", TEAM) as payer:
        await payer.change(PRO, when="period_end")
        first = (await payer.read())["schedule"]
        own = {"collection_method": "charge_automatically"}
        invoiced = {"days_until_due": 9, "issuer": {"type": "self"}, "account_tax_ids": ["txi_1"]}
        row = path.stripe.account.rows["subscription_schedule"][first]
        row["phases"][0] |= {**own, "metadata": {"order": "7"}, "invoice_settings": invoiced}
        replaced = await payer.change(Item("team", "month", 2), when="period_end")
        assert isinstance(replaced, Changed)
        assert (replaced.status, (await payer.read())["schedule"]) == ("scheduled", first)
        phases = (await path.retrieve(f"/v1/subscription_schedules/{first}"))["phases"]
        # Stripe adds a phase's to the subscription's when it begins: once.
        assert [phase["metadata"] for phase in phases] == [{"order": "7"}, {}]
        for phase in phases:
            assert {name: phase[name] for name in own} == own
            assert {name: phase["invoice_settings"][name] for name in invoiced} == invoiced

        foreseen = await payer.resume(preview=True)
        assert isinstance(foreseen, Preview)
        assert [effect[:2] for effect in shown(foreseen.entitlements)] == [("seats", "less")]
        resumed = await payer.resume()
        assert isinstance(resumed, Changed)
        assert resumed.status == "changed"
        assert resumed.subscription is not None
        assert resumed.subscription.pending_change is None
        assert (await payer.read())["schedule"] is None
        unchanged = await payer.resume()
        assert isinstance(unchanged, Changed)
        assert unchanged.status == "unchanged"

        await payer.change(PRO, when="period_end")
        kept = await payer.change(TEAM)
        assert isinstance(kept, Changed)
        assert (kept.status, (await payer.read())["schedule"]) == ("changed", None)

        await payer.change(PRO, when="period_end")
        canceled = await payer.cancel("period_end")
        assert isinstance(canceled, Changed)
        assert canceled.status == "scheduled"
        state = await payer.read()
        assert (state["schedule"], state["cancel_at_period_end"]) == (None, True)
        with pytest.raises(Conflict, match="set to end") as refused:
            await payer.change(PRO, when="period_end")
        assert refused.value.code == "set_to_cancel"


async def test_an_end_is_foreseen_set_taken_back_and_final(path: EventPath) -> None:
    async with paying(path, "u_1", TEAM) as payer:
        preview = await payer.cancel("period_end", preview=True)
        assert isinstance(preview, Preview)
        assert (preview.due_now_minor, preview.next_invoice) == (0, None)
        assert {effect[0] for effect in shown(preview.entitlements)} >= {"export", "sso"}

        done = await payer.cancel("period_end")
        assert isinstance(done, Changed)
        assert (done.status, done.settled) == ("scheduled", True)
        assert done.subscription is not None
        assert done.subscription.ends_at == preview.effective_at
        assert (await payer.answers())["export"].ends_at == preview.effective_at
        again = await payer.cancel("period_end")
        assert isinstance(again, Changed)
        assert again.status == "unchanged"

        back = await payer.resume(preview=True)
        assert isinstance(back, Preview)
        assert back.effective_at == preview.effective_at
        assert back.next_invoice is not None
        assert back.next_invoice.total_minor == 4900
        assert {effect[:2] for effect in shown(back.entitlements)} >= {("export", "gain")}
        await payer.resume()
        assert (await payer.answers())["export"].ends_at is None

        foreseen = await payer.cancel("now", preview=True)
        had = await payer.answers()
        ended = await payer.cancel("now")
        assert isinstance(ended, Changed)
        assert isinstance(foreseen, Preview)
        assert ended.status == "changed"
        assert shown(foreseen.entitlements) == await effects(path, had, await payer.answers()) != []
        assert shown(ended.entitlements.changes) == shown(foreseen.entitlements)
        over = await payer.cancel("now")
        assert isinstance(over, Changed)
        assert over.status == "unchanged"
        with pytest.raises(Conflict, match="open a checkout") as refused:
            await payer.resume()
        assert refused.value.code == "subscription_ended"
        with pytest.raises(Unknown) as gone:
            await payer.change(PRO)
        assert gone.value.code == "no_subscription"


@pytest.mark.parametrize("card", ["pm_card_chargeCustomerFail", "pm_card_authenticationRequired"])
async def test_an_unpaid_upgrade_gives_nothing_until_the_customer_pays(path: EventPath, card: str) -> None:
    async with paying(path, "u_1", PRO) as payer:
        await path.advance(payer.clock_id, days=3)
        await path.stripe.change_card(payer.customer_id, card)
        done = await payer.change(TEAM)
        assert isinstance(done, Changed)
        assert (done.status, done.entitlements.changes) == ("action_required", ())
        assert done.url is not None
        assert done.url.startswith(path.stripe.url)
        assert held(await payer.read()) == {"pro.month": 1}
        again = await payer.change(TEAM)
        assert isinstance(again, Changed)
        assert (again.status, again.url) == ("action_required", done.url)
        assert len(await payer.invoices()) == 2

        # Another wish lets go of the first: nobody can pay for it any more.
        await path.stripe.change_card(payer.customer_id, "pm_card_visa")
        other = await payer.change(Item("pro", "month", 2))
        assert isinstance(other, Changed)
        assert other.status == "changed"
        assert [invoice["status"] for invoice in await payer.invoices()] == ["paid", "void", "paid"]
        state = await payer.read()
        assert (held(state), state["pending_update"]) == ({"pro.month": 2}, None)

        await path.stripe.change_card(payer.customer_id, card)
        await payer.change(TEAM)
        resumed = await payer.resume()
        assert isinstance(resumed, Changed)
        assert (resumed.status, (await payer.read())["pending_update"]) == ("changed", None)


async def test_an_upgrade_is_applied_when_the_customer_has_paid_its_invoice(path: EventPath) -> None:
    async with paying(path, "u_1", PRO) as payer:
        await path.advance(payer.clock_id, days=3)
        await path.stripe.change_card(payer.customer_id, "pm_card_authenticationRequired")
        await payer.change(TEAM)
        [invoice, *_] = await payer.invoices()
        await path.create(f"/v1/invoices/{invoice['id']}/pay", {"payment_method": "pm_card_visa"})
        await payer.sync()
        assert held(await payer.read()) == {"team.month": 1}
        assert (await payer.answers())["sso"].granted


async def test_two_at_once_are_one_change_and_one_refusal(path: EventPath) -> None:
    async with paying(path, "u_1", PRO) as payer:
        await path.stripe.fail(f"/v1/subscriptions/{payer.subscription_id}", latency_s=0.3, times=1)
        answers = await asyncio.gather(payer.change(TEAM), payer.change(TEAM), return_exceptions=True)
        refused = [one for one in answers if isinstance(one, Conflict)]
        assert [(one.code, one.retry_after_s) for one in refused] == [("change_in_progress", 2)]
        assert len(await payer.invoices()) == 2
        assert await path.rows("SELECT * FROM checkout_turns") == []


async def test_a_lost_answer_of_stripes_is_no_second_change(path: EventPath) -> None:
    async with paying(path, "u_1", PRO) as payer:
        await path.stripe.fail(
            f"/v1/subscriptions/{payer.subscription_id}", status=500, times=2, when="after"
        )
        with pytest.raises(Exception, match="did not answer"):
            await payer.change(TEAM)
        # Whether Stripe is still at work is not known, so nobody else may begin.
        with pytest.raises(Conflict):
            await payer.change(TEAM)
        await path.execute("UPDATE checkout_turns SET lease_until = clock_timestamp() - interval '1 s'")
        again = await payer.change(TEAM)
        assert isinstance(again, Changed)
        assert again.status == "unchanged"
        assert len(await payer.invoices()) == 2
        assert (await payer.answers())["sso"].granted


#: Of a group of its own, and nothing to the viewer.
DOCS = """
[projects.acme.plans.docs]
name = "Acme Docs"
group = "docs"
rank = 5
grants = { projects = 70 }
[projects.acme.plans.docs.prices.month]
interval = "month"
amounts = { usd = 700 }
"""


async def sell_docs(path: EventPath) -> None:
    projects = read_catalog(CATALOG.read_text() + DOCS, file="catalog.toml")
    published = await publish_locally(path.context, projects)
    await path.stripe.seed(products=published.stripe["products"], prices=published.stripe["prices"])


async def test_plans_of_two_groups_that_others_put_together_are_changed_by_either_group(
    path: EventPath,
) -> None:
    await sell_docs(path)
    docs = Item("docs", "month")
    async with paying(path, "u_1", docs, PRO) as payer:
        upgraded = await payer.change(TEAM, docs)
        assert isinstance(upgraded, Changed)
        assert held(await payer.read()) == {"docs.month": 1, "team.month": 1}
        async with paying(path, "u_2", TEAM):
            wish = MergeWish(user_id="u_2", into_user_id="u_1", reason="one person", dry_run=True)
            merged = await merge_users(path.context, "acme", wish, NOBODY)
            assert [one.group for one in merged.users.doubled] == ["main"]
        by_docs = Asked(project="acme", app="editor", user_id="u_1", group="docs")
        more = [TEAM, Item("docs", "month", 2)]
        await change_subscription(path.context, path.syncer, by_docs, more, "now")
        assert held(await payer.read()) == {"docs.month": 2, "team.month": 1}
        ended = await payer.cancel("period_end")
        assert isinstance(ended, Changed)
        assert ended.status == "scheduled"


async def test_an_app_changes_and_ends_only_what_it_sees(path: EventPath) -> None:
    await sell_docs(path)
    async with paying(path, "u_1", Item("docs", "month")) as payer:
        viewer = Asked(project="acme", app="viewer", user_id="u_1", group="docs")
        for is_preview in (True, False):
            asked = msgspec.structs.replace(viewer, is_preview=is_preview)
            for verb in (
                lambda asked: change_subscription(path.context, path.syncer, asked, [PRO], "now"),
                lambda asked: cancel_subscription(path.context, path.syncer, asked, "now"),
                lambda asked: resume_subscription(path.context, path.syncer, asked),
            ):
                with pytest.raises(Unknown) as refused:
                    await verb(asked)
                assert refused.value.code == "no_subscription"
        kept = await payer.read()
        assert (kept["status"], held(kept), len(await payer.invoices())) == ("active", {"docs.month": 1}, 1)

        editor = msgspec.structs.replace(viewer, app="editor")
        done = await cancel_subscription(path.context, path.syncer, editor, "now")
        assert isinstance(done, Concluded)
        assert done.changed.status == "changed"


async def refusal(attempt: Any) -> Rejected:
    with pytest.raises(Rejected) as raised:
        await attempt
    return raised.value


async def test_each_state_that_forbids_a_change_says_what_to_do(path: EventPath) -> None:
    async with paying(path, "u_1", PRO) as payer:
        stripe, subscription = path.stripe, payer.subscription_id
        forbidden: tuple[tuple[str, When, str], ...] = (
            ("past_due", "now", "payment_past_due"),
            ("unpaid", "period_end", "payment_past_due"),
            ("incomplete", "now", "subscription_incomplete"),
            ("paused", "now", "subscription_paused"),
        )
        for status, when, code in forbidden:
            await stripe.change_subscription(subscription, status=status)
            refused = await refusal(payer.change(TEAM, when=when))
            assert (refused.status, refused.code) == (409, code)
        assert (await refusal(payer.resume())).code == "subscription_paused"
        await stripe.change_subscription(subscription, status="incomplete")
        assert (await refusal(payer.cancel("period_end"))).code == "subscription_incomplete"
        assert (await refusal(payer.resume())).code == "subscription_incomplete"

        await stripe.change_subscription(subscription, status="past_due")
        later = await payer.change(TEAM, when="period_end")
        assert isinstance(later, Changed)
        assert later.status == "scheduled"
        await stripe.change_subscription(subscription, status="active")

        for items, field in (
            ((extra(1),), "items"),
            ((TEAM, extra(1)), "items[1].plan"),
            ((Item("pass", "once"),), "items[0].price"),
            ((Item("por", "month"),), "items[0].plan"),
            ((PRO, TEAM), "items"),
        ):
            refused = await refusal(payer.change(*items))
            assert isinstance(refused, Invalid)
            assert refused.errors[0]["field"] == field
        wrong = msgspec.structs.replace(payer.asked(), group="man")
        refused = await refusal(cancel_subscription(path.context, path.syncer, wrong, "now"))
        assert "did you mean main" in refused.errors[0]["detail"]
        for stranger in ("u_none", "u_2"):
            asked = msgspec.structs.replace(payer.asked(), user_id=stranger)
            refused = await refusal(cancel_subscription(path.context, path.syncer, asked, "now"))
            assert (refused.status, refused.code) == (404, "no_subscription")
        foreign = msgspec.structs.replace(payer.asked(), project="globex", app="board")
        refused = await refusal(cancel_subscription(path.context, path.syncer, foreign, "now"))
        assert refused.status == 404


async def test_what_the_catalog_or_others_have_made_is_left_alone(path: EventPath) -> None:
    async with paying(path, "u_1", PRO) as payer:
        made = await path.create("/v1/subscription_schedules", {"from_subscription": payer.subscription_id})
        [current] = made["phases"]
        phases = [
            {
                "items": [{"price": "price_acme.pro.month", "quantity": 1}],
                "start_date": current["start_date"],
                "end_date": current["end_date"],
            },
            {"items": [{"price": "price_acme.pro.month", "quantity": 2}]},
            {"items": [{"price": "price_acme.team.month", "quantity": 2}]},
        ]
        await path.create(f"/v1/subscription_schedules/{made['id']}", {"phases": phases})
        refused = await refusal(payer.change(TEAM))
        assert (refused.code, made["id"] in refused.detail) == ("schedule_not_ours", True)
        await path.create(f"/v1/subscription_schedules/{made['id']}/release", {})

        # As a call leaves it that died between its two: no phase is to come, and the next call goes on.
        left = await path.create("/v1/subscription_schedules", {"from_subscription": payer.subscription_id})
        planned = await payer.change(TEAM, when="period_end")
        assert isinstance(planned, Changed)
        assert (planned.status, (await payer.read())["schedule"]) == ("scheduled", left["id"])
        await payer.resume()

        product = await path.create("/v1/products", {"name": "Handmade"})
        price = await path.create(
            "/v1/prices",
            {
                "product": product["id"],
                "currency": "usd",
                "unit_amount": 5,
                "recurring": {"interval": "month"},
            },
        )
        subscription = f"/v1/subscriptions/{payer.subscription_id}"
        await path.create(subscription, {"items": [{"price": price["id"]}]})
        refused = await refusal(payer.change(TEAM))
        assert (refused.code, price["id"] in refused.detail) == ("items_unmapped", True)


async def test_a_paused_trial_goes_on_once_there_is_a_card(path: EventPath) -> None:
    clock_id = await path.make_clock()
    customer_id = await path.make_customer("u_1", test_clock=clock_id)
    payer = Payer(path, "u_1", customer_id, clock_id)
    pausing = {"end_behavior": {"missing_payment_method": "pause"}}
    await payer.subscribe(TEAM, trial_period_days=7, trial_settings=pausing)
    await payer.at_period_end()
    assert (await payer.read())["status"] == "paused"
    assert (await refusal(payer.resume())).code == "payment_method_missing"
    await path.execute("DELETE FROM checkout_turns")
    await path.stripe.change_card(customer_id, "pm_card_visa")
    preview = await payer.resume(preview=True)
    done = await payer.resume()
    assert isinstance(preview, Preview)
    assert isinstance(done, Changed)
    assert (done.status, (await payer.read())["status"]) == ("changed", "active")
    [invoice, *_] = await payer.invoices()
    assert invoice["amount_due"] == preview.due_now_minor == 4900
    assert shown(done.entitlements.changes) == shown(preview.entitlements) != []


async def test_in_a_trial_a_change_costs_nothing_and_keeps_the_trial(path: EventPath) -> None:
    async with paying(path, "u_1", PRO, trial_period_days=7) as payer:
        preview = await payer.change(TEAM, preview=True)
        done = await payer.change(TEAM)
        assert isinstance(preview, Preview)
        assert isinstance(done, Changed)
        assert (preview.due_now_minor, done.status, (await payer.read())["status"]) == (
            0,
            "changed",
            "trialing",
        )
        assert preview.next_invoice is not None
        trial_end = datetime.fromtimestamp((await payer.read())["trial_end"], UTC)
        assert (preview.next_invoice.total_minor, preview.next_invoice.at) == (4900, trial_end)


async def test_an_upgrade_that_waits_is_shown_with_its_page_and_outlives_a_refused_change(
    path: EventPath,
) -> None:
    async with paying(path, "u_1", PRO) as payer:
        await path.advance(payer.clock_id, days=3)
        await path.stripe.change_card(payer.customer_id, "pm_card_authenticationRequired")
        done = await payer.change(TEAM)
        assert isinstance(done, Changed)
        assert done.subscription is not None
        [invoice, *_] = await payer.invoices()
        for shown_now in (done.subscription, await billed(payer)):
            waiting = shown_now.pending_payment
            assert waiting is not None
            assert (waiting.pay_url, waiting.due_minor) == (done.url, invoice["amount_remaining"])
            assert [(item.plan, item.price) for item in waiting.items] == [("team", "month")]

        # Stripe is asked before what waits is dropped for good.
        await path.stripe.fail("/v1/invoices/create_preview", status=400, times=2)
        for when in ("now", "period_end"):
            refused = await refusal(payer.change(Item("pro", "month", 2), when=when))
            assert refused.code == "stripe_refused"
            assert (await payer.read())["pending_update"] is not None
        assert (await billed(payer)).pending_payment == waiting
        await path.create(f"/v1/invoices/{invoice['id']}/pay", {"payment_method": "pm_card_visa"})
        await payer.sync()
        assert (await billed(payer)).pending_payment is None


async def billed(payer: Payer) -> BillingSubscription:
    shown_now = await show_billing(payer.path.context, "acme", "editor", payer.user_id)
    return shown_now.subscriptions[0]


async def test_what_was_planned_comes_back_unless_the_change_has_happened_and_a_loss_is_told(
    path: EventPath,
) -> None:
    async with paying(path, "u_1", TEAM) as payer:
        subscription = f"/v1/subscriptions/{payer.subscription_id}"

        async def change_badly(**fault: Any) -> list[Any]:
            """What the log says of the plan for the period's end, after a change at once that fails."""
            await path.execute("DELETE FROM checkout_turns")
            await payer.change(PRO, when="period_end")
            await path.stripe.fail(subscription, method="POST", **fault)
            with capture_logs() as lines:
                with pytest.raises((Unavailable, Conflict)):
                    await payer.change(Item("team", "month", 2))
                await until(lambda: any("planned_change" in line["event"] for line in lines))
            await path.stripe.clear_faults()
            return [line for line in lines if "planned_change" in line["event"]]

        [told] = await change_badly(status=500, times=2)
        assert (told["event"], told["is_back"]) == ("planned_change_looked_after", True)
        assert (await payer.read())["schedule"] is not None

        await path.stripe.fail("/v1/subscription_schedules", method="POST", status=400)
        [told] = await change_badly(status=402)
        assert (told["event"], told["log_level"]) == ("planned_change_lost", "warning")
        assert (await payer.read())["schedule"] is None

        [told] = await change_badly(status=500, times=2, when="after")
        assert (told["event"], told["is_back"]) == ("planned_change_looked_after", False)
        state = await payer.read()
        assert (state["schedule"], held(state)) == (None, {"team.month": 2})
