"""What a change would cost: Stripe's own invoice previews, never a calculation of ours."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from domain.flows.change_plan.answers import MoneyLine, NextInvoice
from domain.flows.change_plan.subject import Scene, Subject
from domain.stripe_gateway import JsonObject, StripeRefused

PREVIEW = "/v1/invoices/create_preview"
#: What Stripe says where nothing would be billed any more.
_NOTHING = "invoice_upcoming_none"


class Cost(Struct, frozen=True, kw_only=True):
    """Minor units of the subscription's currency."""

    due_now_minor: int = 0
    credit_minor: int = 0
    lines: tuple[MoneyLine, ...] = ()
    next_invoice: NextInvoice | None = None


async def cost_at_once(scene: Scene, subject: Subject, items: list[dict[str, Any]]) -> Cost:
    """Of a change that is billed at once, and of the renewal after it."""
    invoice = await _preview(scene, subject, {"items": items, "proration_behavior": "always_invoice"})
    if invoice is None or not _is_made_now(invoice, subject):
        return Cost(next_invoice=_next(invoice))
    later = await _preview(scene, subject, {"items": items, "proration_behavior": "none"})
    return Cost(
        due_now_minor=invoice["amount_due"],
        credit_minor=max(0, -invoice["total"]),
        lines=_lines(invoice),
        # A new interval begins at once and is on the first invoice: the next one bills the same again.
        next_invoice=_repeated(invoice) if later is None or _is_made_now(later, subject) else _next(later),
    )


async def cost_of_resumption(scene: Scene, subject: Subject) -> Cost:
    """Of the period that begins when a paused subscription goes on."""
    invoice = await _preview(scene, subject, {"resume_at": "now"})
    if invoice is None:
        return Cost()
    return Cost(
        due_now_minor=invoice["amount_due"],
        credit_minor=max(0, -invoice["total"]),
        lines=_lines(invoice),
        next_invoice=_repeated(invoice),
    )


async def cost_of_next(scene: Scene, subject: Subject, details: Mapping[str, Any]) -> Cost:
    """Of a change that is billed with the next renewal, or of none: nothing now."""
    invoice = await _preview(scene, subject, details)
    found = _next(invoice)
    if found is not None and invoice is not None and _is_made_now(invoice, subject):
        # Another interval: Stripe previews it from today on, and it begins with the period's end.
        found = NextInvoice(at=subject.period_end, total_minor=found.total_minor, lines=found.lines)
    return Cost(next_invoice=found)


async def cost_of_end(scene: Scene, subject: Subject, details: Mapping[str, Any]) -> Cost:
    """Of an end: what is still to be billed, mostly nothing."""
    return Cost(next_invoice=_next(await _preview(scene, subject, details)))


async def _preview(scene: Scene, subject: Subject, details: Mapping[str, Any]) -> JsonObject | None:
    """None: nothing would be billed."""
    asked = {"subscription": subject.id, "subscription_details": dict(details)}
    try:
        return await scene.context.stripe_or_raise.preview(PREVIEW, scene.reserve, asked)
    except StripeRefused as refused:
        if refused.reason == _NOTHING:
            return None
        raise


def _is_made_now(invoice: JsonObject, subject: Subject) -> bool:
    """A renewal bills a period that begins when the running one ends; what is made now begins earlier."""
    begins = [line.period_start for line in _lines(invoice) if not line.is_proration]
    return all(begin < subject.period_end for begin in begins)


def _next(invoice: JsonObject | None) -> NextInvoice | None:
    if invoice is None:
        return None
    lines = _lines(invoice)
    begins = [line.period_start for line in lines if not line.is_proration]
    at = max(begins) if begins else _when(invoice["created"])
    return NextInvoice(at=at, total_minor=invoice["total"], lines=lines)


def _repeated(invoice: JsonObject) -> NextInvoice | None:
    whole = tuple(line for line in _lines(invoice) if not line.is_proration)
    if not whole:
        return None
    total = sum(line.amount_minor for line in whole)
    return NextInvoice(at=max(line.period_end for line in whole), total_minor=total, lines=whole)


def _lines(invoice: JsonObject) -> tuple[MoneyLine, ...]:
    return tuple(_line(line) for line in invoice["lines"]["data"])


def _line(line: JsonObject) -> MoneyLine:
    parent = line.get("parent") or {}
    details = parent.get(parent.get("type", "")) or {}
    return MoneyLine(
        description=line.get("description"),
        amount_minor=line["amount"],
        is_proration=bool(details.get("proration")),
        period_start=_when(line["period"]["start"]),
        period_end=_when(line["period"]["end"]),
    )


def _when(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
