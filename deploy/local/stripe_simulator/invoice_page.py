"""The hosted page of an invoice (`hosted_invoice_url`): pay by a new card, authenticate, be declined."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from deploy.local.stripe_simulator import collection, payments
from deploy.local.stripe_simulator.markup import NOTE, money, show
from deploy.local.stripe_simulator.moments import clock_of, moment_of
from deploy.local.stripe_simulator.payment_methods import attach_method
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account, Json

PAYABLE = {"open", "uncollectible"}
Act = Callable[[Account, Json], None]


def invoice_routes(simulator: Simulator) -> list[Route]:
    def bind(act: Act | None) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            found = find_invoice(simulator, request.path_params["invoice_id"])
            if found is None:
                return show("No such invoice", "<p>This address belongs to no invoice.</p>", 404)
            account, invoice = found
            if act is None or invoice["status"] not in PAYABLE:
                return show_invoice(account, invoice)
            with account.standing_at(moment_of(clock_of(account, invoice))):
                act(account, invoice)
            simulator.commit()
            return RedirectResponse(f"/i/{invoice['id']}", 303)

        return handle

    return [
        Route("/i/{invoice_id}", bind(None), methods=["GET"]),
        Route("/i/{invoice_id}/pay", bind(pay), methods=["POST"]),
        Route("/i/{invoice_id}/authenticate", bind(authenticate), methods=["POST"]),
        Route("/i/{invoice_id}/decline", bind(decline), methods=["POST"]),
    ]


def find_invoice(simulator: Simulator, invoice_id: str) -> tuple[Account, Json] | None:
    """A draft has no page yet."""
    for account in simulator.store.accounts.values():
        invoice = account.find("invoice", invoice_id)
        if invoice is not None and invoice["status"] != "draft":
            return account, invoice
    return None


def pay(account: Account, invoice: Json) -> None:
    """By a card that the customer types in; it stays attached, as Stripe's page offers."""
    method = attach_method(account, "pm_card_visa", invoice["customer"], None)
    collection.collect(account, invoice, method)


def authenticate(account: Account, invoice: Json) -> None:
    """The customer answers the bank that asked; nothing happens when none did."""
    intent = collection.intent_of(account, invoice)
    if intent["status"] == "requires_action":
        payments.succeed(account, intent, account.load("payment_method", intent["payment_method"]))
        collection.intent_ended(account, intent)


def decline(account: Account, invoice: Json) -> None:
    method = attach_method(account, "pm_card_chargeCustomerFail", invoice["customer"], None)
    collection.collect(account, invoice, method)


def show_invoice(account: Account, invoice: Json) -> Response:
    due = money(invoice["amount_remaining"], invoice["currency"])
    if invoice["status"] not in PAYABLE:
        return show(f"Invoice {invoice['number']}", f"<p>This invoice is {invoice['status']}.</p>{NOTE}")
    buttons = "".join(
        f'<form method="post" action="/i/{invoice["id"]}/{verb}"><button>{label}</button></form>'
        for verb, label in choices(account, invoice)
    )
    return show(f"Invoice {invoice['number']}", f"<p>Due: <strong>{due}</strong></p>{buttons}{NOTE}")


def choices(account: Account, invoice: Json) -> list[tuple[str, str]]:
    found = [("pay", "Pay"), ("decline", "Decline")]
    intent = collection.waiting_intent(account, invoice)
    if intent is not None and intent["status"] == "requires_action":
        return [("authenticate", "Authenticate"), *found]
    return found
