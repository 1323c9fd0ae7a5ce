"""The runbook "Paid but no access": each cause, made for real, is named by the command that it says."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from domain.flows.checkout import Item, Wish, open_checkout
from domain.flows.grant import GrantWish, grant
from domain.flows.record_action import Operator
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from tests.ingress.terminal import answer_in, type_in

ANNA = Operator(actor="cli:anna")
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
DENIED = GrantWish(effect="deny", target_kind="feature", target="export", reason="abuse")


async def deliver_all(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def said(path: EventPath, *words: str) -> str:
    settings = path.context.settings
    done = await type_in(
        settings,
        *words,
        TOLLHOUSE_STRIPE_API_BASE=settings.stripe_api_base,
        TOLLHOUSE_STRIPE_SECRET_KEY=settings.stripe_secret_key.reveal(),
        # A stale entry is one that readers still take: not even a slow machine may let it grow old first.
        TOLLHOUSE_FRESH_S="300",
        TOLLHOUSE_STALE_S="900",
    )
    return done.output


async def explained(path: EventPath, user_id: str, *feature: str) -> str:
    where = ["--app", "editor"] if feature else []
    return await said(path, "explain", user_id, *feature, "--project", "acme", *where)


def refute(missing: Sequence[str], output: str) -> None:
    assert [text for text in missing if text not in output] == [], output


def causes_of_the_guide() -> list[str]:
    section = GUIDE.read_text().split("\n## Paid but no access\n")[1].split("\n```sh")[0]
    return re.findall(r"^\| (.+?) \| .*`tollhouse ", section, re.MULTILINE)


async def test_every_cause_of_paid_but_no_access_is_named_by_one_command(settings: Settings) -> None:
    async with running_path(settings) as path:
        stranger = await path.make_stripe_customer()
        await path.buy(stranger)
        await path.buy(await buy_with_mail(path, "anna@example.com"))
        unpaid = await buy_by_bank_transfer(path, "u_bank")
        await buy_unmapped(path, "u_unmapped")
        await buy_and_get_back(path, "u_refunded")
        await deliver_all(path)
        unread = await buy_unheard(path, "u_late")
        dead = await buy_and_die(path, "u_dead")
        await deny_behind_the_cache(path, "u_1")
        await hear_of_live_mode(path)

        outputs = {
            "the Stripe customer is linked to nobody": (
                ["foreign", f"tollhouse customers adopt {stranger}"],
                await said(path, "find", stranger),
            ),
            "the app sends another user id than the checkout had": (
                ["nowhere", "looked in"],
                await said(path, "find", "anna"),
            ),
            "the event never came": (
                ["at Stripe, not read here yet", "users sync u_late"],
                await said(path, "find", unread),
            ),
            "another mode or account": (["other_mode"], await said(path, "events", "show", "evt_live")),
            "paid later (a delayed payment method) in a checkout opened here": (
                ["complete, unpaid", "u_bank"],
                await said(path, "find", unpaid),
            ),
            "the target is dead": (["dead", "u_dead", "without an outcome"], await said(path, "find", dead)),
            "the catalog does not know the price": (
                ["The first broken link is prices.", "price_unmapped", "stripe_ids"],
                await explained(path, "u_unmapped"),
            ),
            "the feature is another app's": (
                ["viewer", "formats"],
                await said(path, "users", "show", "u_1", "--project", "acme"),
            ),
            "the cache holds something else": (
                ["The first broken link is cache.", "is older than the stored", "--repair"],
                await explained(path, "u_1"),
            ),
            "an operator denied it": (
                ["denied", "cli:anna", "abuse"],
                await explained(path, "u_1", "export"),
            ),
            "the money was given back": (
                ["not granted", "refunded"],
                await explained(path, "u_refunded", "export"),
            ),
        }
        for words, output in outputs.values():
            refute(words, output)
        assert list(outputs) == causes_of_the_guide(), "the guide has causes that were not made, or others"
        shown = outputs["the feature is another app's"][1]
        assert {line.split()[0] for line in shown.splitlines() if " formats " in line} == {"viewer"}, shown
        refute(["u_1", "ours"], await said(path, "find", "anna@example.com"))
        for user_id in ("u_bank", "u_unmapped", "u_refunded", "u_late", "u_dead"):
            assert not await path.is_granted(user_id=user_id), user_id

        refute(
            ["export", "true (subscription_active)"],
            await said(path, "users", "sync", "u_late", "--project", "acme"),
        )
        assert await path.is_granted(user_id="u_late")


async def buy_with_mail(path: EventPath, email: str) -> str:
    customer = await path.make_customer("u_1")
    await path.create(f"/v1/customers/{customer}", {"email": email})
    return customer


async def buy_by_bank_transfer(path: EventPath, user_id: str) -> str:
    """A checkout of ours that is complete, and whose money is on its way; answers the session."""
    wish = Wish(
        user_id=user_id,
        items=[Item("pass", "once")],
        success_url="https://editor.acme.example/ok",
        cancel_url="https://editor.acme.example/no",
    )
    opened = await open_checkout(path.context, "acme", "editor", wish)
    await path.stripe.pay_later(opened.id)
    return opened.id


async def buy_unmapped(path: EventPath, user_id: str) -> None:
    """What somebody made and sold in Stripe's dashboard."""
    product = await path.create("/v1/products", {"name": "Black Friday"})
    price = await path.create(
        "/v1/prices",
        {
            "product": product["id"],
            "currency": "eur",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        },
    )
    session = await path.create(
        "/v1/checkout/sessions",
        {
            "mode": "subscription",
            "customer": await path.make_customer(user_id),
            "line_items": [{"price": price["id"], "quantity": 1}],
            "success_url": "http://localhost:3000/ok",
        },
    )
    await path.stripe.pay(session["id"])


async def buy_and_get_back(path: EventPath, user_id: str) -> None:
    session = await path.buy(await path.make_customer(user_id), "pass", "once")
    bought = await path.retrieve(f"/v1/checkout/sessions/{session}")
    await path.create("/v1/refunds", {"payment_intent": bought["payment_intent"]})


async def buy_unheard(path: EventPath, user_id: str) -> str:
    """No event of it is delivered; answers the subscription."""
    session = await path.buy(await path.make_customer(user_id))
    return str((await path.retrieve(f"/v1/checkout/sessions/{session}"))["subscription"])


async def buy_and_die(path: EventPath, user_id: str) -> str:
    """Each run over this customer dies with its process, until its target gives up; answers the customer."""
    customer = await path.make_customer(user_id)
    await path.buy(customer)
    await path.deliver((await path.events(types=["checkout.session.completed"]))[-1])
    await path.execute("UPDATE sync_targets SET claims = 10 WHERE stripe_id = $1", customer)
    await path.drain()
    return customer


async def deny_behind_the_cache(path: EventPath, user_id: str) -> None:
    """An operator denies while the cache is away: it keeps what was so before."""
    await grant(msgspec.structs.replace(path.context, cache=None), "acme", user_id, DENIED, ANNA)


async def hear_of_live_mode(path: EventPath) -> None:
    subject = {"id": "cus_live", "object": "customer"}
    event = {"id": "evt_live", "object": "event", "type": "customer.updated", "livemode": True}
    await path.deliver({**event, "data": {"object": subject}})


async def test_a_replay_tells_first_and_takes_what_the_same_filter_lists(settings: Settings) -> None:
    async with running_path(settings) as path:
        await path.buy(await path.make_customer("u_1"))
        await deliver_all(path)
        whose = ["--project", "acme", "--user", "u_1"]
        refute(["would change no answer"], await said(path, "events", "replay", *whose, "--dry-run"))
        listed = await answer_in(settings, "events", "list", *whose, "--since", "1h")
        done = await answer_in(settings, "events", "replay", *whose)
        assert set(done["event_ids"]) | set(done["skipped"]) == {one["event_id"] for one in listed["data"]}
        assert (await type_in(settings, "events", "replay")).exit_code == 2
