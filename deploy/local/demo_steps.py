"""The demo's story, told by a micro-app, a customer and somebody with `kill -9`: only HTTP and what `up`
says.

Each step is a function: it does one thing, compares what it got with what must be, and returns the line to
show. A difference raises Mismatch with both.
"""

import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from deploy.local.processes import children_of
from deploy.local.state import Ready, read_struct
from deploy.local.web import Answer, Connection, request

BUYER, SECOND_BUYER = "u_17", "u_18"
MORE_BUYERS = ("u_21", "u_22", "u_23", "u_24", "u_25")
FEATURE = "export"
SUCCESS_URL, CANCEL_URL = "http://localhost:3000/ok", "http://localhost:3000/cancel"

#: A customer looks at the page before paying; meanwhile the micro-app's own calls have come to rest.
READING_S, QUICK_READING_S = 1.0, 0.3
#: The printed time is at most this much too long. Asking more often would take the processor away from what
#: is measured, because everything shares this machine.
POLL_S = 0.01
#: Event → readable takes milliseconds; only a failure takes this long.
READABLE_TIMEOUT_S = 10.0
#: How long the simulated Stripe holds one read, so that the worker is certainly in the middle of its work
#: when killed.
STALL_S = 2.0
#: After the webhook's 200 the worker needs milliseconds to take the work up; far below STALL_S.
TAKE_UP_S = 0.4


class Mismatch(Exception):
    """Something answered otherwise than it must."""

    def __init__(self, expected: object, got: object) -> None:
        self.expected, self.got = expected, got
        super().__init__(f"expected {expected}, got {got}")


@dataclass(slots=True)
class Story:
    """What the steps hand on to each other."""

    ready_file: Path
    ready: Ready
    app: Connection
    #: How long a killed worker's work stays its own, in seconds.
    lease_s: float
    #: Longest wait for the work of a killed worker: its lease, the next sweep, a restart.
    recovery_timeout_s: float
    say: Callable[[str], None]
    #: Stripe's delivery attempts of the first purchase, once all have ended.
    attempts: list[dict[str, Any]] = field(default_factory=list)
    #: (what, figure) for the summary.
    figures: list[tuple[str, str]] = field(default_factory=list)


def ask_before_buying(story: Story) -> str:
    answer = expect(200, ask(story, BUYER, "acme/editor"))
    found = entitlement(answer)
    expect_equal(
        {"granted": False, "reason": "no_subscription"}, {k: found.get(k) for k in ("granted", "reason")}
    )
    return f"acme/editor asks for {BUYER}: {FEATURE} is not granted, reason {found['reason']}"


def buy_a_subscription(story: Story) -> str:
    """Checkout, hosted page, webhooks shuffled and doubled, readable: one purchase as everybody sees it."""
    session = open_checkout(story, BUYER, {"plan": "pro", "price": "month", "quantity": 5})
    story.say(f"  the page to pay on: {session['url']}")
    expect(200, control(story, "deliver", {"mode": "shuffle", "duplicate": 2}))
    clicked_at = pay_on_the_hosted_page(session["url"])
    story.say("  paid on the hosted page; Stripe delivers the events in random order, each twice")
    readable_at, answer = wait_until_granted(story, BUYER, READABLE_TIMEOUT_S)
    found = entitlement(answer)
    expect_equal("subscription_active", found["reason"])
    expect_equal(5, answer["entitlements"]["seats"]["value"])
    story.attempts = wait_for_deliveries_to_end(story, clicked_at)
    for name in (FEATURE, "seats"):
        story.say(f"  {name}: {in_short(answer['entitlements'][name])}")
    first = min(attempt["started_at"] for attempt in story.attempts)
    took = f"{(readable_at - first) * 1000:.0f} ms"
    story.figures.append(("Stripe's first delivery → readable, first purchase", took))
    return f"acme/editor asks again: {FEATURE} is granted, readable {took} after Stripe's first delivery"


def deliver_everything_twice(story: Story) -> str:
    """The rest of the shuffled, doubled deliveries changes nothing."""
    attempts = story.attempts
    events = {attempt["event_id"] for attempt in attempts}
    refused = [attempt for attempt in attempts if attempt["status"] != 200]  # noqa: PLR2004 - the acknowledgement
    expect_equal([], refused)
    if len(attempts) < 2 * len(events):
        raise Mismatch(f"each of {len(events)} events delivered twice", f"{len(attempts)} deliveries")
    answer = expect(200, ask(story, BUYER, "acme/editor"))
    expect_equal(True, entitlement(answer)["granted"])
    story.figures.append(("Deliveries acknowledged for it", f"{len(attempts)} ({len(events)} events)"))
    return f"all {len(attempts)} deliveries of {len(events)} events acknowledged; the answer stays the same"


def let_more_customers_buy(story: Story) -> str:
    """The same again: the first purchase after a start also pays for first calls and prepared statements."""
    took_ms = [measure_a_purchase(story, user_id) for user_id in MORE_BUYERS]
    median, slowest = statistics.median(took_ms), max(took_ms)
    story.figures.append((f"The same for {len(took_ms)} more, median", f"{median:.0f} ms"))
    return (
        f"{len(took_ms)} more customers buy, shuffled and twice too: "
        f"readable after {median:.0f} ms (median), {slowest:.0f} ms (slowest)"
    )


def measure_a_purchase(story: Story, user_id: str) -> float:
    """Milliseconds from Stripe's first delivery of a purchase until the app can read it."""
    session = open_checkout(story, user_id, {"plan": "pro", "price": "month", "quantity": 1})
    clicked_at = pay_on_the_hosted_page(session["url"], reading_s=QUICK_READING_S)
    readable_at, _ = wait_until_granted(story, user_id, READABLE_TIMEOUT_S)
    first = min(float(attempt["started_at"]) for attempt in deliveries_since(story, clicked_at))
    return (readable_at - first) * 1000


def lose_the_worker(story: Story) -> str:
    """A second purchase whose worker dies by kill -9 while it reads Stripe."""
    expect(200, control(story, "deliver", {"mode": "normal"}))
    session = open_checkout(story, SECOND_BUYER, {"plan": "pass", "price": "once", "quantity": 1})
    stall_the_next_read(story)
    clicked_at = pay_on_the_hosted_page(session["url"])
    wait_for_acknowledgement(story, clicked_at)
    time.sleep(TAKE_UP_S)
    before = entitlement(expect(200, ask(story, SECOND_BUYER, "acme/editor")))
    if before["granted"]:
        raise Mismatch(
            "a purchase still being worked on", "it was readable before the worker could be killed"
        )
    killed = kill_the_worker(story)
    killed_at = time.time()
    story.say(f"  killed with -9 while it reads Stripe: worker {', '.join(map(str, killed))}")
    story.say(
        f"  its lease on the work runs out after {story.lease_s} s (15 s by default, shorter for this demo)"
    )
    readable_at, answer = wait_until_granted(story, SECOND_BUYER, story.recovery_timeout_s)
    expect_equal("purchase", entitlement(answer)["reason"])
    took = f"{readable_at - killed_at:.1f} s"
    story.figures.append(("Worker killed with -9 in the middle → readable", took))
    return f"{SECOND_BUYER} buys a pass, its worker is killed -9 at work: readable {took} later"


def ask_as_the_other_project(story: Story) -> str:
    answer = expect(200, ask(story, BUYER, "globex/board"))
    foreign = {name: found["sources"] for name, found in answer["entitlements"].items() if found["sources"]}
    expect_equal({}, foreign)
    if FEATURE in answer["entitlements"]:
        raise Mismatch(f"no feature {FEATURE}", sorted(answer["entitlements"]))
    expect_equal("globex", answer["project"])
    return f"globex/board asks for {BUYER}: sees nothing of acme, only its own defaults"


STEPS: tuple[Callable[[Story], str], ...] = (
    ask_before_buying,
    buy_a_subscription,
    deliver_everything_twice,
    let_more_customers_buy,
    lose_the_worker,
    ask_as_the_other_project,
)


def ask(story: Story, user_id: str, app: str) -> Answer:
    headers = {"Authorization": f"Bearer {story.ready.app_keys[app]}"}
    return story.app.request("GET", f"/api/v1/entitlements?user_id={user_id}", headers=headers)


def open_checkout(story: Story, user_id: str, item: dict[str, Any]) -> dict[str, Any]:
    """What the micro-app's backend does when somebody clicks Buy."""
    headers = {"Authorization": f"Bearer {story.ready.app_keys['acme/editor']}"}
    wish = {"user_id": user_id, "items": [item], "success_url": SUCCESS_URL, "cancel_url": CANCEL_URL}
    answer = story.app.request("POST", "/api/v1/checkout/session", send_json=wish, headers=headers)
    session: dict[str, Any] = expect(201, answer)
    return session


def pay_on_the_hosted_page(url: str, *, reading_s: float = READING_S) -> float:
    """What the customer's browser does: load the page, submit the form of its Pay button; returns when (unix
    time).
    """
    page = request("GET", url)
    expect_equal(200, page.status)
    time.sleep(reading_s)
    forms = FormReader()
    forms.feed(page.body.decode())
    pay = next((form for form in forms.found if urlsplit(form.action).path.endswith("/pay")), None)
    if pay is None:
        raise Mismatch("a form that pays", [form.action for form in forms.found])
    clicked_at = time.time()
    answer = request("POST", urljoin(url, pay.action), send_form=pay.fields)
    expect_equal(303, answer.status)
    if not answer.headers.get("location", "").startswith(SUCCESS_URL):
        raise Mismatch(f"a redirect to {SUCCESS_URL}", answer.headers.get("location"))
    return clicked_at


def wait_until_granted(story: Story, user_id: str, timeout_s: float) -> tuple[float, dict[str, Any]]:
    """Ask every 10 ms on one connection; returns when (unix time) an answer granted first, and the answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        try_again_at = time.monotonic() + POLL_S
        answer = expect(200, ask(story, user_id, "acme/editor"))
        if entitlement(answer)["granted"]:
            return time.time(), answer
        if time.monotonic() > deadline:
            raise Mismatch(f"{FEATURE} granted within {timeout_s:.0f} s", entitlement(answer))
        time.sleep(max(0.0, try_again_at - time.monotonic()))


def deliveries_since(story: Story, moment: float) -> list[dict[str, Any]]:
    """Stripe's attempts to deliver, begun at or after this moment (unix time)."""
    answer = expect(200, request("GET", f"{story.ready.stripe_url}/_sim/deliveries"))
    return [attempt for attempt in answer["data"] if attempt["started_at"] >= moment]


def wait_for_deliveries_to_end(story: Story, moment: float) -> list[dict[str, Any]]:
    """All attempts begun since this moment (unix time), once no new one has been seen for half a second."""
    seen: list[dict[str, Any]] = []
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.5:  # noqa: PLR2004 - see above
        now = deliveries_since(story, moment)
        if now != seen:
            seen, quiet_since = now, time.monotonic()
        time.sleep(0.05)
    return seen


def wait_for_acknowledgement(story: Story, clicked_at: float) -> None:
    deadline = time.monotonic() + READABLE_TIMEOUT_S
    while not [attempt for attempt in deliveries_since(story, clicked_at) if attempt["status"] == 200]:  # noqa: PLR2004 - acknowledged
        if time.monotonic() > deadline:
            raise Mismatch("a webhook acknowledged with 200", deliveries_since(story, clicked_at))
        time.sleep(POLL_S)


def stall_the_next_read(story: Story) -> None:
    wish = {"path_pattern": "/v1/checkout/sessions/*", "method": "GET", "latency_s": STALL_S, "times": 1}
    expect(200, control(story, "fail", wish))


def kill_the_worker(story: Story) -> list[int]:
    """End the worker and its children with -9, as running out of memory does; returns their pids."""
    main = read_struct(story.ready_file, Ready).pids["worker"]
    pids = [main, *children_of(main)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def control(story: Story, verb: str, wish: dict[str, Any]) -> Answer:
    return request("POST", f"{story.ready.stripe_url}/_sim/{verb}", send_json=wish)


def in_short(found: dict[str, Any]) -> str:
    """What the app acts on, and what made it so."""
    (source,) = found["sources"]
    return f"{json.dumps(found['value'])}, {found['reason']}: {source['id']}, plan {source['plan']}"


def entitlement(answer: dict[str, Any]) -> dict[str, Any]:
    found = answer.get("entitlements", {}).get(FEATURE)
    if not isinstance(found, dict):
        raise Mismatch(f"an answer about {FEATURE}", answer)
    return found


def expect(status: int, answer: Answer) -> Any:
    """The decoded body of an answer with this status, else Mismatch."""
    if answer.status != status:
        raise Mismatch(f"status {status}", f"{answer.status} {answer.body[:500].decode(errors='replace')}")
    return answer.json()


def expect_equal(expected: object, got: object) -> None:
    if got != expected:
        raise Mismatch(expected, got)


@dataclass(slots=True)
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)


class FormReader(HTMLParser):
    """The forms of a page with their hidden and prefilled fields."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self.found.append(Form(values.get("action") or ""))
        elif tag == "input" and self.found and values.get("name"):
            self.found[-1].fields[values["name"] or ""] = values.get("value") or ""
