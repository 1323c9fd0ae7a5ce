"""The hosted payment page: plain HTML and forms, so it works in a browser and from a script alike.

As at Stripe, the session's id in the address is the only secret it asks for.
"""

import time
from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from deploy.local.stripe_simulator import purchase
from deploy.local.stripe_simulator.checkout import items_of_session
from deploy.local.stripe_simulator.due import run_until
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.markup import NOTE, error_line, money, show, terms
from deploy.local.stripe_simulator.moments import clock_of, moment_of
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account, Json

Handler = Callable[[Request], Awaitable[Response]]


def page_routes(simulator: Simulator) -> list[Route]:
    def bind(answer: Callable[[Account, Json, dict[str, str]], Response]) -> Handler:
        async def handle(request: Request) -> Response:
            found = find_session(simulator, request.path_params["session_id"])
            if found is None:
                return show("No such checkout", "<p>This address belongs to no checkout session.</p>", 404)
            form = parse_qs((await request.body()).decode(errors="replace"))
            account, session = found
            with account.standing_at(moment_of(clock_of(account, session))):
                answered = answer(account, session, {name: values[0] for name, values in form.items()})
            simulator.commit()
            return answered

        return handle

    return [
        Route("/c/pay/{session_id}", bind(show_session), methods=["GET"]),
        Route("/c/pay/{session_id}/pay", bind(pay), methods=["POST"]),
        Route("/c/pay/{session_id}/pay-later", bind(pay_later), methods=["POST"]),
        Route("/c/pay/{session_id}/authenticate", bind(authenticate), methods=["POST"]),
        Route("/c/pay/{session_id}/decline", bind(decline), methods=["POST"]),
        Route("/c/pay/{session_id}/cancel", bind(cancel), methods=["POST"]),
    ]


def find_session(simulator: Simulator, session_id: str) -> tuple[Account, Json] | None:
    for account in simulator.store.accounts.values():
        run_until(account, None, int(time.time()))
        session = account.find("checkout.session", session_id)
        if session is not None:
            return account, session
    return None


def pay(account: Account, session: Json, form: dict[str, str]) -> Response:
    return finish(account, session, form, delayed=False)


def pay_later(account: Account, session: Json, form: dict[str, str]) -> Response:
    return finish(account, session, form, delayed=True)


def finish(account: Account, session: Json, form: dict[str, str], *, delayed: bool) -> Response:
    """A second Pay, from the back button or an impatient finger, buys nothing again."""
    if session["status"] != "open":
        return show_closed(session)
    try:
        purchase.complete(account, session, delayed=delayed, email=form.get("email"))
    except StripeError as error:
        return show("Payment failed", error_line(str(error)), 400)
    target = session["success_url"] or session.get("return_url", "")
    return RedirectResponse(target.replace("{CHECKOUT_SESSION_ID}", session["id"]), 303)


def authenticate(account: Account, session: Json, _form: dict[str, str]) -> Response:
    """3D Secure: the page then asks whether the customer passes."""
    if session["status"] != "open":
        return show_closed(session)
    try:
        purchase.challenge(account, session)
    except StripeError as error:
        return show_open(account, session, str(error))
    return RedirectResponse(f"/c/pay/{session['id']}", 303)


def decline(account: Account, session: Json, _form: dict[str, str]) -> Response:
    if session["status"] != "open":
        return show_closed(session)
    try:
        purchase.decline(account, session)
    except StripeError as error:
        return show_open(account, session, str(error))
    return RedirectResponse(f"/c/pay/{session['id']}", 303)


def cancel(account: Account, session: Json, _form: dict[str, str]) -> Response:
    """Leaving the page changes nothing: the session stays open."""
    if session["cancel_url"] is None:
        return show_open(account, session, "This checkout has no address to go back to.")
    return RedirectResponse(session["cancel_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]), 303)


def show_session(account: Account, session: Json, _form: dict[str, str]) -> Response:
    if session["status"] != "open":
        return show_closed(session)
    intent = intent_so_far(account, session)
    if intent and intent["status"] == "requires_action":
        return show_challenge(session)
    return show_open(account, session, last_refusal(intent))


def intent_so_far(account: Account, session: Json) -> Json | None:
    """The intent of the attempts so far; None before the first."""
    intent_id = account.load("checkout_draft", session["id"])["payment_intent"]
    return account.find("payment_intent", intent_id) if intent_id else None


def show_challenge(session: Json) -> Response:
    address = f"/c/pay/{escape(session['id'])}"
    return show(
        "Your bank wants to confirm",
        f'<form method="post" action="{address}/pay"><button>Complete authentication</button>'
        f'<button formaction="{address}/decline">Fail authentication</button></form>{NOTE}',
    )


def last_refusal(intent: Json | None) -> str:
    """What the bank said to the last attempt, with Stripe's code; empty when there was none."""
    error = intent["last_payment_error"] if intent else None
    return f"{error['message']} ({error['code']})" if error else ""


def show_open(account: Account, session: Json, problem: str) -> Response:
    currency = session["currency"]
    rows = "".join(
        f"<tr><td>{item['quantity']} &times; {escape(item['description'])}{escape(terms(account, item))}</td>"
        f"<td>{money(item['amount_total'], currency)}</td></tr>"
        for item in items_of_session(account, session)
    )
    address = f"/c/pay/{escape(session['id'])}"
    email = escape(session["customer_email"] or purchase.DEFAULT_EMAIL)
    back = f'<form method="post" action="{address}/cancel"><button>Cancel</button></form>'
    return show(
        "Pay Local Stripe",
        f"{error_line(problem)}<table>{rows}<tr><th scope='row'>Due today</th>"
        f"<td><strong>{money(session['amount_total'], currency)}</strong></td></tr></table>"
        f'<form method="post" action="{address}/pay">'
        f'<p><label>E-mail <input name="email" type="email" value="{email}"></label></p>'
        f'<button>Pay</button><button formaction="{address}/pay-later">Pay by bank (delayed)</button>'
        f'<button formaction="{address}/authenticate">Pay with 3D Secure</button>'
        f'<button formaction="{address}/decline">Decline</button></form>{back}{NOTE}',
    )


def show_closed(session: Json) -> Response:
    if session["status"] == "expired":
        return show("Checkout expired", "<p>This checkout session has expired. Nothing was paid.</p>", 410)
    return show("Already complete", "<p>This checkout is already complete. It was not paid again.</p>")
