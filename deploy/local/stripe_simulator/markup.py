"""What all pages share: their frame, and amounts as people write them."""

from html import escape

from starlette.responses import HTMLResponse, Response

from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Account, Json

#: Currencies without minor units; all others are shown with two decimals.
ZERO_DECIMAL = frozenset(
    [
        "bif",
        "clp",
        "djf",
        "gnf",
        "jpy",
        "kmf",
        "krw",
        "mga",
        "pyg",
        "rwf",
        "ugx",
        "vnd",
        "vuv",
        "xaf",
        "xof",
        "xpf",
    ]
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 3rem auto; padding: 0 1rem; }}
td:last-child {{ text-align: right; }} table {{ width: 100%; }} .error {{ color: #b00020; }}
button {{ font: inherit; padding: .5rem 1rem; margin: .25rem .25rem .25rem 0; }}
</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"""


def show(title: str, body: str, status: int = 200) -> Response:
    """A page; `body` is HTML, so whatever a customer wrote in it is escaped by the caller."""
    return HTMLResponse(PAGE.format(title=escape(title), body=body), status)


def money(amount: int, currency: str) -> str:
    """Minor units as people write them."""
    shown = f"{amount:,}" if currency in ZERO_DECIMAL else f"{amount / 100:,.2f}"
    return f"{shown} {currency.upper()}"


def terms(account: Account, item: Json) -> str:
    """How often an item is billed, for instance `, every month`; empty for a one-time price."""
    recurring = render(account, item)["price"]["recurring"]
    if recurring is None:
        return ""
    count, interval = recurring["interval_count"], recurring["interval"]
    return f", every {interval}" if count == 1 else f", every {count} {interval}s"


def error_line(problem: str) -> str:
    return f'<p class="error" role="alert">{escape(problem)}</p>' if problem else ""


NOTE = "<p><small>A local test page: no money moves.</small></p>"
