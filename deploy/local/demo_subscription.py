"""The demo's part about a subscription: a success page, an upgrade with its preview, Stripe's portal."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

from deploy.local.demo_steps import (
    CANCEL_URL,
    READABLE_TIMEOUT_S,
    FormReader,
    Mismatch,
    Story,
    ask,
    control,
    expect,
    expect_equal,
    open_checkout,
    pay_on_the_hosted_page,
)
from deploy.local.web import request

#: Buys, upgrades and cancels.
CLIENT = "u_41"
SESSION_PATH = "/api/v1/checkout/session"
#: Stripe's events are held back so long: what is known before that is known because the app asked.
HELD_BACK_S = 10.0
POLL_S = 0.02


def claim_before_any_event(story: Story) -> str:
    """The success page: whoever is sent back after paying must not be told that nothing was bought."""
    expect(200, control(story, "deliver", {"mode": "normal", "delay_s": HELD_BACK_S}))
    session = open_checkout(story, CLIENT, {"plan": "pro", "price": "month", "quantity": 1})
    pay_on_the_hosted_page(session["url"], reading_s=0.0)
    expect_equal("no_subscription", told(story, "export")["reason"])
    began = time.monotonic()
    claimed = post(story, f"{SESSION_PATH}/{session['id']}/claim", 200)
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    expect_equal(("complete", True), (claimed["state"], claimed["settled"]))
    expect_equal("subscription_active", claimed["entitlements"]["export"]["reason"])
    expect(200, control(story, "deliver", {"mode": "normal"}))
    story.figures.append(("A claim by the success page", took))
    return f"{CLIENT} has paid, no event has come yet: the success page claims it, granted after {took}"


def look_before_upgrading(story: Story) -> str:
    before = told(story, "sso")
    preview = change(story, preview=True)
    if not 0 < preview["due_now_minor"] <= 4900 - 1900:
        raise Mismatch("at most the difference of both prices, 3000", preview["due_now_minor"])
    expect_equal(4900, preview["next_invoice"]["total_minor"])
    gained = [one["feature"] for one in preview["entitlements"] if one["effect"] == "gain"]
    expect_equal(["sso"], gained)
    expect_equal(before, told(story, "sso"))
    due = money(preview["due_now_minor"], preview["currency"])
    then = money(preview["next_invoice"]["total_minor"], preview["currency"])
    return f"preview of Team instead of Pro: {due} now, {then} at the renewal, gains sso; nothing changes"


def upgrade(story: Story) -> str:
    changed = change(story)
    expect_equal("changed", changed["status"])
    found = told_from(story, changed["entitlements"]["version"])["sso"]
    expect_equal({"granted": True, "reason": "subscription_active"}, judged(found))
    return f"{CLIENT} upgrades: the call answers {changed['status']}, the app reads sso granted"


def cancel_in_the_portal(story: Story) -> str:
    """The customer presses Stripe's button; what follows comes by webhook."""
    wish = {"user_id": CLIENT, "return_url": CANCEL_URL, "flow": {"type": "subscription_cancel"}}
    paid_until = bill(story)["renews_at"]
    press(post(story, "/api/v1/portal/session", 201, wish)["url"], "/cancel")
    found = wait_for_an_end(story)
    expect_equal({"granted": True, "reason": "subscription_active"}, judged(found))
    expect_equal(paid_until, found["ends_at"])
    expect_equal((None, paid_until), tuple(bill(story)[name] for name in ("renews_at", "ends_at")))
    return f"{CLIENT} cancels in Stripe's portal: the app reads sso granted until {paid_until}"


def resume(story: Story) -> str:
    resumed = post(story, "/api/v1/subscription/resume", 200, {"user_id": CLIENT, "group": "main"})
    expect_equal("changed", resumed["status"])
    found = told_from(story, resumed["entitlements"]["version"])["sso"]
    expect_equal((True, None), (found["granted"], found["ends_at"]))
    return f"{CLIENT} comes back by our API: sso has no end again"


STEPS: tuple[Callable[[Story], str], ...] = (
    claim_before_any_event,
    look_before_upgrading,
    upgrade,
    cancel_in_the_portal,
    resume,
)


def post(story: Story, path: str, status: int, wish: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {story.ready.app_keys['acme/editor']}"}
    answer: dict[str, Any] = expect(status, story.app.request("POST", path, send_json=wish, headers=headers))
    return answer


def change(story: Story, **more: Any) -> dict[str, Any]:
    items = [{"plan": "team", "price": "month", "quantity": 1}]
    wish = {"user_id": CLIENT, "group": "main", "items": items, **more}
    return post(story, "/api/v1/subscription/change", 200, wish)


def told(story: Story, feature: str) -> dict[str, Any]:
    return told_from(story, 0)[feature]


def told_from(story: Story, version: int) -> dict[str, dict[str, Any]]:
    """What the app is told, of this version or a later one: what readers remember ends with a message."""
    deadline = time.monotonic() + READABLE_TIMEOUT_S
    while True:
        answer = expect(200, ask(story, CLIENT, "acme/editor"))
        if answer["version"] >= version:
            found: dict[str, dict[str, Any]] = answer["entitlements"]
            return found
        if time.monotonic() > deadline:
            raise Mismatch(f"version {version} within {READABLE_TIMEOUT_S:.0f} s", answer["version"])
        time.sleep(POLL_S)


def wait_for_an_end(story: Story) -> dict[str, Any]:
    """What the app is told about `sso`, once that has an end."""
    deadline = time.monotonic() + READABLE_TIMEOUT_S
    while (found := told(story, "sso"))["ends_at"] is None:
        if time.monotonic() > deadline:
            raise Mismatch(f"an end of sso within {READABLE_TIMEOUT_S:.0f} s", found)
        time.sleep(POLL_S)
    return found


def bill(story: Story) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {story.ready.app_keys['acme/editor']}"}
    answer = expect(200, story.app.request("GET", f"/api/v1/billing?user_id={CLIENT}", headers=headers))
    (subscription,) = answer["subscriptions"]
    found: dict[str, Any] = subscription
    return found


def press(url: str, button: str) -> None:
    """What the customer's browser does: load the page, submit the form of this button."""
    page = request("GET", url)
    expect_equal(200, page.status)
    forms = FormReader()
    forms.feed(page.body.decode())
    found = next((form for form in forms.found if urlsplit(form.action).path.endswith(button)), None)
    if found is None:
        raise Mismatch(f"a form to {button}", [form.action for form in forms.found])
    expect_equal(303, request("POST", urljoin(url, found.action), send_form=found.fields).status)


def judged(found: dict[str, Any]) -> dict[str, Any]:
    return {"granted": found["granted"], "reason": found["reason"]}


def money(amount_minor: int, currency: str) -> str:
    return f"{amount_minor / 100:.2f} {currency.upper()}"
