"""The runbook "Paid but no access": each cause is named by the one command that docs/operations.md says."""

from collections.abc import Sequence

from domain.flows.grant import GrantWish, grant
from domain.flows.record_action import Operator
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from tests.ingress.terminal import answer_in, type_in

ANNA = Operator(actor="cli:anna")


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
    )
    return done.output


def refute(missing: Sequence[str], output: str) -> None:
    assert [text for text in missing if text not in output] == [], output


async def test_every_cause_of_paid_but_no_access_is_named_by_one_command(settings: Settings) -> None:
    async with running_path(settings) as path:
        stranger = await path.make_stripe_customer()
        await path.buy(stranger)
        customer = await path.make_customer("u_1")
        await path.create(f"/v1/customers/{customer}", {"email": "anna@example.com"})
        await path.buy(customer)
        refunded = await path.make_customer("u_2")
        await path.buy(refunded, "pass", "once")
        await deliver_all(path)
        other_mode = {"id": "evt_live", "object": "event", "type": "customer.updated", "livemode": True}
        await path.deliver({**other_mode, "data": {"object": {"id": customer, "object": "customer"}}})
        late = await path.make_customer("u_3")
        await path.buy(late)
        events = await path.events(types=["customer.subscription.created"])
        unread = next(one for one in events if one["data"]["object"]["customer"] == late)
        wish = GrantWish(effect="deny", target_kind="feature", target="export", reason="abuse")
        await grant(path.context, "acme", "u_1", wish, ANNA)
        await path.execute(
            "UPDATE sync_targets SET state = 'dead', last_error = 'a shape' WHERE stripe_id = $1", refunded
        )

        refute(["foreign", "tollhouse customers adopt"], await said(path, "find", stranger))
        refute(["nowhere", "looked in"], await said(path, "find", "anna"))
        refute(["u_1", customer], await said(path, "find", "anna@example.com"))
        refute(
            ["not read here yet", "users sync u_3"], await said(path, "find", unread["data"]["object"]["id"])
        )
        refute(["other_mode"], await said(path, "events", "show", "evt_live"))
        refute(["dead", "a shape"], await said(path, "find", refunded))
        refute(
            ["denied", "abuse"],
            await said(path, "explain", "u_1", "export", "--project", "acme", "--app", "editor"),
        )
        refute(
            ["editor", "export", "grant.create"],
            await said(path, "users", "show", "u_1", "--project", "acme"),
        )
        refute(["export", "true (subscription_active)"], await said(path, "users", "sync", "u_3", "--project", "acme"))
        assert await path.is_granted(user_id="u_3")
        replayed = await said(path, "events", "replay", "--project", "acme", "--user", "u_1", "--dry-run")
        refute(["would change no answer"], replayed)
        listed = await answer_in(
            settings, "events", "list", "--project", "acme", "--user", "u_1", "--since", "1h"
        )
        done = await answer_in(settings, "events", "replay", "--project", "acme", "--user", "u_1")
        assert set(done["event_ids"]) | set(done["skipped"]) == {one["event_id"] for one in listed["data"]}
        assert (await type_in(settings, "events", "replay")).exit_code == 2
