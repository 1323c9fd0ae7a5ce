"""The portal page: what the customer has, and a form for each thing that the configuration allows.

As at Stripe, the session's id in the address is the only secret it asks for. A link does not expire here.
"""

from datetime import UTC, datetime
from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.markup import NOTE, error_line, money, show, terms
from deploy.local.stripe_simulator.operations import Router
from deploy.local.stripe_simulator.portal_actions import ACTIONS, Portal
from deploy.local.stripe_simulator.portal_features import REASONS, prices_offered
from deploy.local.stripe_simulator.portal_sessions import ENDED
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account, Json

#: What a customer can pay with from now on: label → test card.
CARDS = {
    "A new Visa": "pm_card_visa",
    "A new Mastercard": "pm_card_mastercard",
    "A card that is declined later": "pm_card_chargeCustomerFail",
    "A card that is declined now": "pm_card_chargeDeclined",
}
#: The multiplication sign.
TIMES = "\u00d7"


def portal_routes(simulator: Simulator, router: Router) -> list[Route]:
    async def look(request: Request) -> Response:
        portal = find_portal(simulator, router, request.path_params["session_id"])
        return show_portal(portal, "") if portal else no_session()

    async def act(request: Request) -> Response:
        portal = find_portal(simulator, router, request.path_params["session_id"])
        action = ACTIONS.get(request.path_params["action"])
        if portal is None or action is None:
            return no_session()
        form = parse_qs((await request.body()).decode(errors="replace"))
        problem = ""
        try:
            action(portal, {name: values[0] for name, values in form.items()})
        except StripeError as error:
            problem = str(error)
        # Also after a refusal: a declined payment has left its traces.
        simulator.commit()
        return show_portal(portal, problem, 400) if problem else leave(portal)

    return [
        Route("/p/session/{session_id}", look, methods=["GET"]),
        Route("/p/session/{session_id}/{action}", act, methods=["POST"]),
    ]


def find_portal(simulator: Simulator, router: Router, session_id: str) -> Portal | None:
    for account in simulator.store.accounts.values():
        session = account.find("billing_portal.session", session_id)
        if session is not None and not account.load("customer", session["customer"]).get("deleted"):
            return Portal(account, session, router)
    return None


def no_session() -> Response:
    return show("No such portal", "<p>This address belongs to no portal session.</p>", 404)


def leave(portal: Portal) -> Response:
    """Where a flow says, else back to the page."""
    flow = portal.session["flow"]
    if flow and flow["after_completion"]["type"] == "redirect":
        return RedirectResponse(flow["after_completion"]["redirect"]["return_url"], 303)
    return RedirectResponse(address_of(portal), 303)


def address_of(portal: Portal) -> str:
    return f"/p/session/{escape(portal.session['id'])}"


def show_portal(portal: Portal, problem: str, status: int = 200) -> Response:
    back = portal.session["return_url"]
    link = f'<p><a href="{escape(back)}">Return</a></p>' if back else ""
    who = escape(portal.customer["email"] or portal.customer["id"])
    parts = [subscription_part(portal, row) for row in live_subscriptions(portal)]
    body = "".join([*parts, method_part(portal), invoice_part(portal)])
    return show("Your plan", f"{error_line(problem)}<p>{who}</p>{body}{link}{NOTE}", status)


def live_subscriptions(portal: Portal) -> list[Json]:
    """The customer's, or the one that the flow is about."""
    rows = portal.account.where("subscription", "customer", portal.customer["id"])
    flow = portal.session["flow"] or {"type": ""}
    only = (flow.get(flow["type"]) or {}).get("subscription")
    return [row for row in rows if row["status"] not in ENDED and only in {None, row["id"]}]


def subscription_part(portal: Portal, row: Json) -> str:
    account = portal.account
    items = account.where("subscription_item", "subscription", row["id"])
    lines = "".join(f"<li>{escape(item_text(account, item, row['currency']))}</li>" for item in items)
    ends = row["cancel_at"]
    until = f"Ends on {day(ends)}." if ends else f"Renews on {day(items[0]['current_period_end'])}."
    forms = resume_form(portal, row) if ends else cancel_form(portal, row) + switch_form(portal, row, items)
    return f"<section><h2>{escape(row['status'])}</h2><ul>{lines}</ul><p>{until}</p>{forms}</section>"


def item_text(account: Account, item: Json, currency: str) -> str:
    price = account.load("price", item["price"])
    name = account.load("product", price["product"])["name"]
    amount = price["currency_options"].get(currency, price)["unit_amount"] or 0
    return f"{item['quantity']} {TIMES} {name}, {money(amount, currency)}{terms(account, item)}"


def day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %B %Y}"


def is_enabled(portal: Portal, feature: str) -> bool:
    return bool(portal.configuration["features"][feature]["enabled"])


def form(portal: Portal, action: str, inside: str) -> str:
    return f'<form method="post" action="{address_of(portal)}/{action}">{inside}</form>'


def hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


def choice(name: str, label: str, options: dict[str, str], chosen: str = "") -> str:
    """A select; `options` is value → text."""
    shown = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in options.items()
    )
    return f'<label>{label} <select name="{name}">{shown}</select></label> '


def cancel_form(portal: Portal, row: Json) -> str:
    if not is_enabled(portal, "subscription_cancel"):
        return ""
    reasons = {"": "no answer", **{reason: reason.replace("_", " ") for reason in REASONS}}
    why = choice("feedback", "Why?", reasons)
    inside = f"{hidden('subscription', row['id'])}{why}<button>Cancel subscription</button>"
    return form(portal, "cancel", inside)


def resume_form(portal: Portal, row: Json) -> str:
    if not is_enabled(portal, "subscription_cancel"):
        return ""
    button = "<button>Don't cancel subscription</button>"
    return form(portal, "resume", hidden("subscription", row["id"]) + button)


def switch_form(portal: Portal, row: Json, items: list[Json]) -> str:
    """Only for a subscription of one item, as at Stripe."""
    if not is_enabled(portal, "subscription_update") or len(items) > 1:
        return ""
    account, (item,) = portal.account, items
    offered = {
        price: item_text(account, {**item, "price": price}, row["currency"])
        for price in prices_offered(portal.configuration)
    }
    flow = portal.session["flow"] or {}
    wanted = ((flow.get("subscription_update_confirm") or {}).get("items") or [{}])[0]
    chosen = wanted.get("price") or item["price"]
    quantity = hidden("quantity", str(wanted["quantity"])) if "quantity" in wanted else ""
    prices = choice("price", "Plan", offered, chosen)
    inside = f"{hidden('subscription', row['id'])}{quantity}{prices}<button>Update subscription</button>"
    return form(portal, "switch", inside)


def method_part(portal: Portal) -> str:
    default = portal.customer["invoice_settings"]["default_payment_method"]
    method = portal.account.find("payment_method", default) if default else None
    last4 = (method or {}).get("card", {}).get("last4")
    shown = f"<p>Card ending in {escape(last4)}</p>" if last4 else "<p>No card on file.</p>"
    if not is_enabled(portal, "payment_method_update"):
        return shown
    options = {card: label for label, card in CARDS.items()}
    inside = choice("card", "Card", options) + "<button>Update payment method</button>"
    return shown + form(portal, "payment-method", inside)


def invoice_part(portal: Portal) -> str:
    if not is_enabled(portal, "invoice_history"):
        return ""
    invoices = portal.account.where("invoice", "customer", portal.customer["id"])
    rows = "".join(
        f"<tr><td>{escape(row['number'] or row['id'])} {escape(row['status'])}{pay_form(portal, row)}</td>"
        f"<td>{money(row['total'], row['currency'])}</td></tr>"
        for row in reversed(invoices)
    )
    return f"<h2>Invoices</h2><table>{rows}</table>"


def pay_form(portal: Portal, invoice: Json) -> str:
    if invoice["status"] != "open":
        return ""
    return form(portal, "pay", hidden("invoice", invoice["id"]) + "<button>Pay invoice</button>")
